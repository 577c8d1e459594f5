// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// joined is several listeners as one, which takes callers that near accepts
// and hangs up on others.
type joined struct {
	all   []net.Listener
	near  func(caller, at netip.Addr) bool
	conns chan net.Conn
	errs  chan error
	once  sync.Once
	ended chan struct{}
}

// listenAll listens on every address, whether the node has it yet or not: the
// loop that makes it and the hub need not wait for each other.
func listenAll(ctx context.Context, addrs []netip.AddrPort, near func(caller, at netip.Addr) bool) (net.Listener, error) {
	j := &joined{near: near, conns: make(chan net.Conn), errs: make(chan error, len(addrs)), ended: make(chan struct{})}
	lc := net.ListenConfig{Control: freebind}
	for _, addr := range addrs {
		l, err := lc.Listen(ctx, "tcp", addr.String())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for callers of the hub: %w", err), j.Close())
		}
		j.all = append(j.all, l)
	}
	for _, l := range j.all {
		go j.take(l)
	}
	return j, nil
}

func freebind(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_FREEBIND, 1)
	}), err)
}

// take accepts from one listener until it ends.
func (j *joined) take(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			j.errs <- err
			return
		}
		if !j.near(addrOf(conn.RemoteAddr()), addrOf(conn.LocalAddr())) {
			_ = conn.Close() // a stranger
			continue
		}
		select {
		case j.conns <- conn:
		case <-j.ended:
			_ = conn.Close() // nobody takes it any more
			return
		}
	}
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Accept is part of net.Listener.
func (j *joined) Accept() (net.Conn, error) {
	select {
	case conn := <-j.conns:
		return conn, nil
	case err := <-j.errs:
		return nil, err
	case <-j.ended:
		return nil, net.ErrClosed
	}
}

// Close is part of net.Listener.
func (j *joined) Close() error {
	var errs []error
	j.once.Do(func() {
		close(j.ended)
		for _, l := range j.all {
			errs = append(errs, l.Close())
		}
	})
	return errors.Join(errs...)
}

// Addr is part of net.Listener: the first of several.
func (j *joined) Addr() net.Addr { return j.all[0].Addr() }
