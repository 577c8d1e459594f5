// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestKernelBandwidth sends for a second each way and compares with the limit.
func TestKernelBandwidth(t *testing.T) {
	const limit = 40_000_000 // bits per second
	n := newNode(t)
	p := n.added(map[string]any{"bandwidth": map[string]any{
		"ingressRate": limit, "ingressBurst": 1 << 20, "egressRate": limit / 2, "egressBurst": 1 << 20,
	}})
	free := n.added(nil)
	if err := p.check(); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	for _, c := range []struct {
		what     string
		from, to string
		addr     netip.Addr
		min, max float64 // bits per second
	}{
		{"towards the pod", n.away, p.rt.NetNS, p.ip4, 0.6 * limit, 1.3 * limit},
		{"from the pod", p.rt.NetNS, n.away, away4, 0.6 * limit / 2, 1.3 * limit / 2},
		{"beside it", free.rt.NetNS, n.away, away4, 5 * limit, 1e12},
	} {
		if c.to == p.rt.NetNS {
			run(t, "ip", "-n", name(n.away), "route", "replace", "10.42.3.0/24", "via", nodes4.Addr().String())
		}
		if got := flood(t, c.from, c.to, c.addr); got < c.min || got > c.max {
			t.Errorf("%s: %.1f Mbit/s, want %.1f to %.1f", c.what, got/1e6, c.min/1e6, c.max/1e6)
		} else {
			t.Logf("%s: %.1f Mbit/s", c.what, got/1e6)
		}
	}
	before := len(n.server.Pods())
	if err := p.del(); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "ip", "-n", name(n.ns), "-br", "link"); len(n.server.Pods()) != before-1 || strings.Contains(out, api.DeviceShapePrefix) {
		t.Errorf("left: %s", out)
	}
}

// flood returns the rate in bits per second that a receiver sees for a second.
func flood(t *testing.T, from, to string, addr netip.Addr) float64 {
	t.Helper()
	l, err := sandbox.At(to, func() (net.Listener, error) { return net.Listen("tcp4", "0.0.0.0:5001") }) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := sandbox.At(from, func() (net.Conn, error) {
		return (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", netip.AddrPortFrom(addr, 5001).String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		b := make([]byte, 64<<10)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	// The bucket is full at the start: let it run empty first.
	_ = s.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.Copy(io.Discard, s)
	start := time.Now()
	_ = s.SetReadDeadline(start.Add(time.Second))
	size, _ := io.Copy(io.Discard, s)
	return float64(size) * 8 / time.Since(start).Seconds()
}
