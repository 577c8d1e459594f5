// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func socket(a netip.Addr) (int, error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	return fd, nil
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Port: Port, Addr: a.As16()}
	}
	return &unix.SockaddrInet4{Port: Port, Addr: a.As4()}
}

// connect opens one connection. A send time-out bounds a dead path: without it
// a layout that does not work would look like one that is slow.
func connect(job Job) (int, error) {
	c, err := socket(job.Addr)
	if err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(int64(5 * time.Second))
	for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := unix.SetsockoptTimeval(c, unix.SOL_SOCKET, option, &limit); err != nil {
			_ = unix.Close(c)
			return -1, fmt.Errorf("set time-out: %w", err)
		}
	}
	if err := unix.Connect(c, sockaddr(job.Addr)); err != nil {
		_ = unix.Close(c)
		return -1, fmt.Errorf("connect to %s: %w", job.Addr, err)
	}
	noDelay(c)
	return c, nil
}

func noDelay(c int) { _ = unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// read and write tell the Go scheduler nothing: this process has one thing to
// do, and handing its processor to somebody else for a microsecond is a cost
// that a server in C would not have.
func read(c int, b []byte) (int, error)  { return bare(unix.SYS_READ, c, b) }
func write(c int, b []byte) (int, error) { return bare(unix.SYS_WRITE, c, b) }

func bare(call uintptr, c int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(c), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == 0:
			return int(n), nil
		case !errors.Is(errno, unix.EINTR):
			return 0, errno
		}
	}
}
