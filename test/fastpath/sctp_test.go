// SPDX-License-Identifier: Apache-2.0

//go:build vm

// Only in the machine of test/vm, whose kernel has SCTP.

package fastpath_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestSCTP: associations between pods of two nodes, and from outside to a
// hostPort, in both families. None of their packets is on the fast path.
func TestSCTP(t *testing.T) {
	w := newWorld(t)
	c := w.pods["c"]
	c.is.Ports = []cni.Port{{Proto: "sctp", HostPort: 9000, Port: 7}}
	w.apply()
	for _, at := range []netip.Addr{c.v4, c.v6} {
		sctpEcho(t, c.ns, netip.AddrPortFrom(at, 7))
	}
	near, far := w.pods["a"].node.packets(), c.node.packets()
	for what, to := range map[string]struct{ from, addr string }{
		"pod to pod":           {"a", netip.AddrPortFrom(c.v4, 7).String()},
		"pod to pod, IPv6":     {"a", netip.AddrPortFrom(c.v6, 7).String()},
		"hostPort":             {"stranger", "192.168.50.2:9000"},
		"hostPort from a node": {"one", "192.168.50.2:9000"},
	} {
		if err := sctpAsk(w.path(to.from), netip.MustParseAddrPort(to.addr), 200); err != nil {
			t.Errorf("%s, %s to %s: %v", what, to.from, to.addr, err)
		}
	}
	if n, m := w.pods["a"].node.packets()-near, c.node.packets()-far; n+m > 0 {
		t.Errorf("%d and %d packets by the fast path", n, m)
	}
	if n, m := w.invalid("one"), w.invalid("two"); n+m > 0 {
		t.Errorf("conntrack called %d and %d packets invalid", n, m)
	}
}

// sctpSocket makes a one-to-one socket of the family whose calls end after three
// seconds. Source: RFC 6458 section 4.
func sctpSocket(to netip.AddrPort) (fd int, addr unix.Sockaddr, err error) {
	family := unix.AF_INET6
	addr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP); err != nil {
		return -1, nil, fmt.Errorf("socket: %w", err)
	}
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &unix.Timeval{Sec: 3}); err != nil {
			unix.Close(fd)
			return -1, nil, fmt.Errorf("time-out: %w", err)
		}
	}
	return fd, addr, nil
}

// sctpEcho answers associations in a namespace until the test ends.
func sctpEcho(t *testing.T, path string, at netip.AddrPort) {
	t.Helper()
	listener, err := sandbox.At(path, func() (int, error) {
		fd, addr, err := sctpSocket(at)
		if err != nil {
			return -1, err
		}
		if err = unix.Bind(fd, addr); err == nil {
			err = unix.Listen(fd, 16)
		}
		return fd, err
	})
	if err != nil {
		t.Fatalf("listen at %s: %v", at, err)
	}
	done := make(chan struct{})
	ended := make(chan struct{})
	t.Cleanup(func() { close(done); <-ended; unix.Close(listener) })
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			if fd, _, err := unix.Accept(listener); err == nil { // or the time-out
				sctpAnswer(fd)
			}
		}
	}()
}

func sctpAnswer(fd int) {
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3})
	b := make([]byte, 4<<10)
	for {
		n, err := again(func() (int, error) { return unix.Read(fd, b) })
		if err != nil || n == 0 {
			return
		}
		if _, err := again(func() (int, error) { return unix.Write(fd, b[:n]) }); err != nil {
			return
		}
	}
}

// sctpAsk opens an association, and sends messages and wants them back.
func sctpAsk(path string, to netip.AddrPort, messages int) error {
	fd, err := sandbox.At(path, func() (int, error) {
		fd, addr, err := sctpSocket(to)
		if err != nil {
			return -1, err
		}
		if err := unix.Connect(fd, addr); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("connect: %w", err)
		}
		return fd, nil
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i := range messages {
		said := bytes.Repeat([]byte{byte(i)}, 1000)
		if _, err := again(func() (int, error) { return unix.Write(fd, said) }); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		heard := make([]byte, 2000)
		n, err := again(func() (int, error) { return unix.Read(fd, heard) })
		if err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		if !bytes.Equal(heard[:n], said) {
			return fmt.Errorf("answer %d: %d bytes, or not those that were sent", i, n)
		}
	}
	return nil
}

// again repeats a call that a signal interrupted: the Go runtime sends itself
// signals, and a socket with a time-out is not restarted.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}
