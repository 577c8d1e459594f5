// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Role is a function that runs in a process of its own. It gets what Start was
// given, prints one line of JSON to out when it is ready or done, and returns
// when its work is; those that serve wait for stop.
type Role func(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error

// verb is the first argument of a process that plays a role.
const verb = "stage-role"

// Hidden runs a role if this process was started for one. main calls it first
// and returns if it says true.
func Hidden(roles map[string]Role) (bool, error) {
	if len(os.Args) != 4 || os.Args[1] != verb {
		return false, nil
	}
	role, arg := os.Args[2], json.RawMessage(os.Args[3])
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with our parent
		close(stop)
	}()
	f, ok := roles[role]
	switch {
	case role == waiting:
		<-stop
		return true, nil
	case role == program:
		f = tend
	case !ok:
		return true, fmt.Errorf("no role %q", role)
	}
	if err := f(arg, os.Stdout, stop); err != nil {
		return true, fmt.Errorf("%s: %w", role, err)
	}
	return true, nil
}

// waiting is the role of the process that holds a Space.
const waiting = "waiting"

// Space is one network namespace.
type Space struct {
	// Path is the file that stands for the namespace while it exists.
	Path string

	holder *Child
}

// NewSpace makes an empty network namespace with its loopback device up.
func NewSpace(ctx context.Context) (*Space, error) {
	c, err := start(ctx, waiting, nil, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})
	if err != nil {
		return nil, err
	}
	s := &Space{Path: "/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/ns/net", holder: c}
	return s, s.Command(ctx, "ip", "link", "set", "lo", "up")
}

// PID is a process in the namespace, for programs that name it so.
func (s *Space) PID() int { return s.holder.cmd.Process.Pid }

// Close ends the namespace.
func (s *Space) Close() { s.holder.Stop() }

// FD opens the namespace's file for whoever moves devices into it.
func (s *Space) FD() (*os.File, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, fmt.Errorf("open namespace: %w", err)
	}
	return f, nil
}

// Do calls f on a thread inside the namespace.
func (s *Space) Do(f func() error) error {
	file, err := s.FD()
	if err != nil {
		return err
	}
	defer file.Close()
	result := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine instead of
		// going on elsewhere.
		runtime.LockOSThread()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

// Command runs a program in the namespace.
func (s *Space) Command(ctx context.Context, name string, args ...string) error {
	return s.Input(ctx, "", name, args...)
}

// Input runs a program in the namespace with that text as its input.
func (s *Space) Input(ctx context.Context, text, name string, args ...string) error {
	return s.Do(func() error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
		}
		return nil
	})
}

// Start runs a role in the namespace, with a /run of its own.
func (s *Space) Start(ctx context.Context, role string, arg any) (*Child, error) {
	var c *Child
	err := s.Do(func() (err error) {
		c, err = start(ctx, role, arg, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
		return err
	})
	return c, err
}

// Child is a process that plays a role.
type Child struct {
	role  string
	pid   int // whose memory counts: its own, or that of the program it tends
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	errs  *strings.Builder
}

func start(ctx context.Context, role string, arg any, attr *syscall.SysProcAttr) (*Child, error) {
	text, err := json.Marshal(arg)
	if err != nil {
		return nil, fmt.Errorf("encode argument of %s: %w", role, err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", verb, role, string(text))
	cmd.SysProcAttr = attr
	c := &Child{role: role, cmd: cmd, errs: &strings.Builder{}}
	cmd.Stderr = c.errs
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c.pid = cmd.Process.Pid
	return c, nil
}

// Answer reads the next line of the child into v. A child that ended instead
// gives its last words as the error.
func (c *Child) Answer(v any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return errors.Join(fmt.Errorf("%s gave no answer: %w", c.role, err), c.wait())
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%s answered %q: %w", c.role, line, err)
	}
	return nil
}

// Memory returns how much memory the child has had at most, in bytes.
func (c *Child) Memory() (int64, error) { return c.status("VmHWM:") }

// Resident returns how much memory the child has now, in bytes.
func (c *Child) Resident() (int64, error) { return c.status("VmRSS:") }

func (c *Child) status(field string) (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("read memory of %s: %w", c.role, err)
	}
	_, rest, found := strings.Cut(string(b), field)
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil || !found {
		return 0, fmt.Errorf("read memory of %s: no %s", c.role, field)
	}
	return kb << 10, nil
}

// End asks the child to end and waits for it. Its files and ports are free
// afterwards, also those of a program it tends.
func (c *Child) End() error {
	_ = c.stdin.Close()
	return c.wait()
}

// Stop ends the child and waits for it.
func (c *Child) Stop() {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Kill()
	_ = c.wait()
}

func (c *Child) wait() error {
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", c.role, err, c.errs)
	}
	return nil
}

// Private gives a role's process a /run of its own.
func Private() error { return private() }
