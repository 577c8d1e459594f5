// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Hidden verbs of the lab's executable; see Hidden.
const (
	verbStart = "machine-start" // joins the cgroups, forks verbInit, ends
	verbInit  = "machine-init"  // pid 1
)

// Hidden runs the part of the executable that os.Args asks for if it is not
// one for users, and says whether it did. main and TestMain call it first.
func Hidden() bool {
	var err error
	switch {
	case filepath.Base(os.Args[0]) == "systemctl":
		os.Exit(Systemctl(os.Args[1:])) //nolint:forbidigo // is main
	case len(os.Args) == 3 && os.Args[1] == verbStart:
		err = forkInit(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == verbInit:
		err = Init(os.Args[2])
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "magpie-lab:", err)
		os.Exit(1) //nolint:forbidigo // is main
	}
	return true
}

// Start makes the machine and returns when its pid 1 answers. exe is the
// lab's executable. A machine that is running already is left alone.
func Start(ctx context.Context, exe string, s Spec) error {
	if _, alive := ReadRecord(s.Lab, s.Name); alive {
		return nil
	}
	if err := prepare(ctx, s); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.Logs(), "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, exe, verbStart, s.specFile())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start machine %s (see %s): %w", s.Name, log.Name(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		if r, alive := ReadRecord(s.Lab, s.Name); alive {
			if _, err := os.Stat(socketOf(r)); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("machine %s does not come up (see %s): %w", s.Name, log.Name(), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// forkInit runs between `up` and pid 1. A cgroup namespace shows the group its
// maker was in, and a group is joined by a whole process: so a process of its
// own joins and then makes the namespaces. It does not wait, so that pid 1
// belongs to nobody and outlives `up`.
func forkInit(specFile string) error {
	s, err := readSpec(specFile)
	if err != nil {
		return err
	}
	if err := joinCgroups(s.cgroup()); err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", verbInit, specFile)
	cmd.Args[0] = "magpie-lab"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = []string{"PATH=" + Path, "HOME=/root", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS |
			unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	return nil
}

// Path is where programs are found inside a machine.
const Path = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Entry are the words to put before a command to run it inside the machine.
func Entry(lab, name string) ([]string, error) {
	r, alive := ReadRecord(lab, name)
	if !alive {
		return nil, fmt.Errorf("machine %s is not running", name)
	}
	return []string{
		"nsenter", "--target", fmt.Sprint(r.PID), "--net", "--mount", "--uts", "--pid", "--ipc", "--cgroup", "--root", "--",
		"/usr/bin/env", "-i", "-C", "/root", "PATH=" + Path, "HOME=/root", "LANG=C.UTF-8", "TERM=" + term(),
	}, nil
}

func term() string {
	if t := os.Getenv("TERM"); t != "" {
		return t
	}
	return "dumb"
}

// Command is argv made to run inside the machine.
func Command(ctx context.Context, lab, name string, argv ...string) (*exec.Cmd, error) {
	entry, err := Entry(lab, name)
	if err != nil {
		return nil, err
	}
	argv = append(entry, argv...)
	return exec.CommandContext(ctx, argv[0], argv[1:]...), nil //nolint:gosec // that is its purpose
}

// NetNS is the path of the machine's network namespace.
func NetNS(lab, name string) (string, error) {
	r, alive := ReadRecord(lab, name)
	if !alive {
		return "", fmt.Errorf("machine %s is not running", name)
	}
	return fmt.Sprintf("/proc/%d/ns/net", r.PID), nil
}

// Root is the path of the machine's file system as the host sees it.
func Root(lab, name string) (string, error) {
	r, alive := ReadRecord(lab, name)
	if !alive {
		return "", fmt.Errorf("machine %s is not running", name)
	}
	return fmt.Sprintf("/proc/%d/root", r.PID), nil
}

// Boot starts the machine's enabled services, once its cables are plugged.
func Boot(ctx context.Context, lab, name string) error {
	r, alive := ReadRecord(lab, name)
	if !alive {
		return fmt.Errorf("boot %s: not running", name)
	}
	rep, err := call(ctx, socketOf(r), request{Verb: "boot"})
	if err != nil {
		return fmt.Errorf("boot %s: %w", name, err)
	}
	if rep.Code != 0 {
		return fmt.Errorf("boot %s: %w", name, errors.New(rep.Text))
	}
	return nil
}
