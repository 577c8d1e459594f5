// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/sandbox"
)

const patience = 2 * time.Second

// seen is what came of one exchange: the client's address as the server saw it.
type seen struct {
	from netip.Addr
	err  error
}

// echo sends from one namespace to a server that it starts in another, at the
// port of to, and returns what the server saw.
func echo(t *testing.T, client, server, network string, to netip.AddrPort) seen {
	t.Helper()
	// Bound to the address, so that a UDP answer comes from where it was asked.
	return meet(t, client, server, network, to, to)
}

// exchange is echo with a server that listens on another port than is called.
//
//nolint:revive // who, whom, how, where: each a plain word
func exchange(t *testing.T, client, server, network string, to netip.AddrPort, port uint16) seen {
	t.Helper()
	return meet(t, client, server, network, to, netip.AddrPortFrom(netip.IPv6Unspecified(), port))
}

//nolint:revive // as exchange
func meet(t *testing.T, client, server, network string, to, at netip.AddrPort) seen {
	t.Helper()
	s, err := listen(t, server, network, at)
	if err != nil {
		return seen{err: err}
	}
	defer s.Close()
	return call(t, client, network, to)
}

// listen starts a server that tells every caller the address it sees.
func listen(t *testing.T, ns, network string, at netip.AddrPort) (io.Closer, error) {
	t.Helper()
	if network == "udp" {
		c, err := sandbox.At(ns, func() (*net.UDPConn, error) { return net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)) })
		if err != nil {
			return nil, err
		}
		go func() {
			b := make([]byte, 64)
			for {
				_, from, err := c.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				_, _ = c.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()), from)
			}
		}()
		return c, nil
	}
	l, err := sandbox.At(ns, func() (net.Listener, error) { return net.Listen("tcp", at.String()) }) //nolint:noctx // local
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, from.Addr().Unmap().String())
			_ = c.Close()
		}
	}()
	return l, nil
}

// call asks a server which address it sees.
func call(t *testing.T, ns, network string, to netip.AddrPort) seen {
	t.Helper()
	from, err := sandbox.At(ns, func() (netip.Addr, error) {
		c, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), network, to.String())
		if err != nil {
			return netip.Addr{}, err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if network == "udp" {
			if _, err := c.Write([]byte("?")); err != nil {
				return netip.Addr{}, err
			}
		}
		b := make([]byte, 64)
		n, err := c.Read(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return netip.Addr{}, err
		}
		return netip.ParseAddr(string(bytes.TrimSpace(b[:n])))
	})
	return seen{from, err}
}
