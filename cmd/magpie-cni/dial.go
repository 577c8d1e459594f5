// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// timeoutSeconds bounds each read and write. It is less than the four minutes
// that kubelet gives a sandbox, so that the runtime hears our words and not
// its own.
const timeoutSeconds = 110

// conn is a blocking unix socket. Package net would do the same and take
// longer to start than everything else here together.
type conn int

func dial(path string) (conn, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	c := conn(fd)
	limit := &syscall.Timeval{Sec: timeoutSeconds}
	for _, option := range []int{syscall.SO_RCVTIMEO, syscall.SO_SNDTIMEO} {
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, option, limit); err != nil {
			_ = c.Close()
			return -1, fmt.Errorf("set socket time-out: %w", err)
		}
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		_ = c.Close()
		return -1, fmt.Errorf("connect to %s: %w", path, err)
	}
	return c, nil
}

func (c conn) Read(b []byte) (int, error) {
	n, err := again(func() (int, error) { return syscall.Read(int(c), b) })
	return n, c.explain("read from", n, err)
}

func (c conn) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := again(func() (int, error) { return syscall.Write(int(c), b[done:]) })
		if err != nil {
			return done, c.explain("write to", n, err)
		}
		done += n
	}
	return done, nil
}

func (c conn) Close() error { return syscall.Close(int(c)) }

// again repeats a call that a signal interrupted: the Go runtime sends itself
// signals.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != syscall.EINTR { //nolint:errorlint // a raw errno
			return n, err
		}
	}
}

func (conn) explain(what string, n int, err error) error {
	switch {
	case err == syscall.EAGAIN: //nolint:errorlint // a raw errno
		return fmt.Errorf("%s the agent: no answer for %d s: %w", what, timeoutSeconds, os.ErrDeadlineExceeded)
	case err != nil:
		return fmt.Errorf("%s the agent: %w", what, err)
	case n == 0 && what == "read from":
		return io.EOF // io.ReadFull counts on it
	}
	return nil
}
