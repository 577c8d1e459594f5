// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// supervisor runs processes and services as pid 1.
type supervisor struct {
	log *slog.Logger

	mu       sync.Mutex
	exits    map[int]chan syscall.WaitStatus // who waits for which pid
	services map[string]*service
}

func newSupervisor(log *slog.Logger) *supervisor {
	return &supervisor{log: log, exits: map[int]chan syscall.WaitStatus{}, services: map[string]*service{}}
}

// reap collects every child: our own services, and the orphans that the
// kernel hands to pid 1. os/exec cannot be used beside it, because both would
// wait for the same processes.
func (s *supervisor) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			time.Sleep(20 * time.Millisecond)
		case err == nil && pid > 0:
			s.mu.Lock()
			if ch, ok := s.exits[pid]; ok {
				ch <- ws
				delete(s.exits, pid)
			}
			s.mu.Unlock()
		}
	}
}

// spawn starts argv in a session of its own, writing to log. The lock is held
// over fork and registration, so that reap cannot come between.
func (s *supervisor) spawn(argv, env []string, dir string, log *os.File) (int, <-chan syscall.WaitStatus, error) {
	path, err := lookPath(argv[0])
	if err != nil {
		return 0, nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, fmt.Errorf("open null: %w", err)
	}
	defer null.Close()
	if dir == "" {
		dir = "/"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir: dir, Env: env,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", path, err)
	}
	ch := make(chan syscall.WaitStatus, 1)
	s.exits[pid] = ch
	return pid, ch, nil
}

func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(Path) {
		p := filepath.Join(dir, name)
		if fi, err := os.Stat(p); err == nil && fi.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %s not found", name)
}

// runOnce runs an Exec line to its end.
func (s *supervisor) runOnce(line string, u Unit, env []string, log *os.File) error {
	argv, mayFail := Argv(line, env)
	if len(argv) == 0 {
		return nil
	}
	_, done, err := s.spawn(argv, env, u.Dir, log)
	if err == nil {
		if ws := <-done; ws.ExitStatus() != 0 {
			err = fmt.Errorf("%s: exit status %d", argv[0], ws.ExitStatus())
		}
	}
	if mayFail {
		return nil
	}
	return err
}

const notifyPath = "/run/systemd/notify"

// listenNotify hears the READY=1 of services of type notify. The kernel adds
// the sender's pid, so one socket serves all.
func (s *supervisor) listenNotify() error {
	if err := os.MkdirAll(filepath.Dir(notifyPath), 0o755); err != nil {
		return fmt.Errorf("make notify folder: %w", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifyPath, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("listen for notifications: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen for notifications: %w", err)
	}
	if err := raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
	}); err != nil {
		return fmt.Errorf("listen for notifications: %w", err)
	}
	go func() {
		buf, oob := make([]byte, 4096), make([]byte, 256)
		for {
			n, on, _, _, err := conn.ReadMsgUnix(buf, oob)
			if err != nil {
				return
			}
			if pid := senderOf(oob[:on]); strings.Contains(string(buf[:n]), "READY=1") {
				s.ready(pid)
			}
		}
	}()
	return nil
}

func senderOf(oob []byte) int {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for i := range msgs {
		if c, err := syscall.ParseUnixCredentials(&msgs[i]); err == nil {
			return int(c.Pid)
		}
	}
	return 0
}

func (s *supervisor) ready(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sv := range s.services {
		if sv.pid == pid {
			sv.setReady()
		}
	}
}

func exitText(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "signal " + ws.Signal().String()
	}
	return "exit status " + strconv.Itoa(ws.ExitStatus())
}
