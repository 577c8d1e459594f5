// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is the role of the process that looks after a foreign program.
const program = "program"

// Program is a program that is none of ours, to be run in a Space.
type Program struct {
	Args []string `json:"args"` // the first is its path
	Env  []string `json:"env"`  // beside our own
	Log  string   `json:"log"`  // a file for what it prints, which grows
}

// Run starts a program in the namespace. It dies with us as a role does; what
// Memory and Resident of the Child say is about the program.
func (s *Space) Run(ctx context.Context, p Program) (*Child, error) {
	c, err := s.Start(ctx, program, p)
	if err != nil {
		return nil, err
	}
	if err := c.Answer(&c.pid); err != nil {
		return nil, err
	}
	return c, nil
}

// tend is the role: it starts the program, says its process id and waits for
// its end or the order to end it.
func tend(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	var p Program
	if err := json.Unmarshal(arg, &p); err != nil {
		return fmt.Errorf("decode program: %w", err)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	// The kernel kills the program when the thread ends that started it.
	runtime.LockOSThread()
	cmd := exec.CommandContext(context.Background(), p.Args[0], p.Args[1:]...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Args[0], err)
	}
	fmt.Fprintln(out, cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-stop:
		return errors.Join(ignoreDone(cmd.Process.Kill()), ignoreExit(<-ended))
	case err := <-ended:
		return fmt.Errorf("%s ended: %w", p.Args[0], err)
	}
}

func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// ignoreExit passes over what a killed program has to say.
func ignoreExit(err error) error {
	if _, exit := errors.AsType[*exec.ExitError](err); exit {
		return nil
	}
	return err
}
