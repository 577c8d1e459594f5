// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kill ends a process of the lab (a machine with all that is in it, or a
// helper) and returns when it is gone. It is not an error if it was dead.
func Kill(lab, name string) error {
	r, alive := ReadRecord(lab, name)
	if alive {
		if err := killPID(r); err != nil {
			return fmt.Errorf("kill %s: %w", name, err)
		}
	}
	return removeCgroups(Spec{Name: name, Lab: lab}.cgroup())
}

// killPID uses a pidfd: between checking the start time and the signal the
// number cannot come to mean another process.
func killPID(r Record) error {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open pid %d: %w", r.PID, err)
	}
	defer unix.Close(fd)
	if start, err := startTime(r.PID); err != nil || start != r.Start {
		return nil // it ended meanwhile
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal pid %d: %w", r.PID, err)
	}
	return waitPidfd(fd, 20*time.Second)
}

func waitPidfd(fd int, limit time.Duration) error {
	end := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 500)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process: %w", err)
		case n > 0:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("process did not end in %s", limit)
		}
	}
}

// removeCgroups removes the machine's groups from every hierarchy, children
// first. Tasks leave a group a moment after they die, so busy is retried.
func removeCgroups(rel string) error {
	var errs []error
	for _, h := range hierarchies() {
		root := filepath.Join(h, rel)
		if _, err := os.Stat(root); err != nil {
			continue
		}
		errs = append(errs, removeCgroup(root))
		// The lab's own folders go with its last machine.
		_ = os.Remove(filepath.Dir(root))
		_ = os.Remove(filepath.Dir(filepath.Dir(root)))
	}
	return errors.Join(errs...)
}

func removeCgroup(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil // what vanished meanwhile is gone
	})
	if err != nil {
		return fmt.Errorf("list cgroup %s: %w", root, err)
	}
	for _, dir := range slices.Backward(dirs) {
		var err error
		for range 100 {
			if err = os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
				err = nil
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}
