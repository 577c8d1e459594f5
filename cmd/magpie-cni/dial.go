// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// patience bounds the connecting and all that follows. It is less than the four
// minutes that kubelet gives a sandbox, so that the runtime hears our words and
// not its own.
const patience = 110 * time.Second

// dial connects to the agent. Package net would do the same and take longer to
// start than everything else here together. The socket waits in the poller and
// not in read(2): during a system call Go's runtime looks every few microseconds
// whether it has ended, which cost a call of ten pods at once 0.7 ms of CPU.
func dial(path string) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	if err := connect(fd, path); err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if err := f.SetDeadline(time.Now().Add(patience)); err != nil { //nolint:forbidigo // where time enters
		_ = f.Close()
		return nil, fmt.Errorf("limit the time of %s: %w", path, err)
	}
	return f, nil
}

// connect blocks while the agent's queue is full; a socket that does not block
// would be refused.
func connect(fd int, path string) error {
	limit := syscall.NsecToTimeval(int64(patience))
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	for {
		err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
		if err != syscall.EINTR { // Go's runtime sends itself signals
			if err != nil {
				return err
			}
			return syscall.SetNonblock(fd, true)
		}
	}
}
