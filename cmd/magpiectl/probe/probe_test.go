// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
)

// serve starts an echo server that ends with the test and returns its port.
func serve(t *testing.T, host string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	port, ended := make(chan int, 1), make(chan error, 1)
	go func() { ended <- probe.Serve(ctx, host, 0, func(p int) { port <- p }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("serve ended with %v", err)
		}
	})
	select {
	case p := <-port:
		return p
	case err := <-ended:
		ended <- context.Canceled
		t.Fatal(err)
		return 0
	}
}

// TestRunAndServe is a prober and a server on loopback.
func TestRunAndServe(t *testing.T) {
	port := serve(t, "127.0.0.1")
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	r := probe.Run(t.Context(), []probe.Target{
		{Kind: probe.KindPod, Addr: addr},
		{Kind: probe.KindOutside, Addr: addr},
		{Kind: probe.KindName, Addr: "127.0.0.1:" + fmt.Sprint(port)},
	}, probe.Waits{Check: 2 * time.Second, Service: 2 * time.Second})
	if len(r.Errors) > 0 {
		t.Fatalf("errors: %q", r.Errors)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	pod, outside, name := r.Checks[0], r.Checks[1], r.Checks[2]
	if pod.TCP == 0 || pod.UDP == 0 || pod.MTU != min(lo.MTU, 65535) {
		t.Errorf("pod: %+v, want TCP, UDP and MTU %d", pod, min(lo.MTU, 65535))
	}
	if outside.TCP == 0 || outside.UDP != 0 || outside.MTU != 0 {
		t.Errorf("outside: %+v, want TCP only", outside)
	}
	if name.TCP == 0 || name.UDP == 0 || name.DNS == 0 || name.MTU != 0 {
		t.Errorf("name: %+v, want DNS, TCP and UDP", name)
	}
}

// TestNobodyThere: a port without a server is refused for both protocols, and
// the prober ends in time.
func TestNobodyThere(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := probe.Run(t.Context(), []probe.Target{{Kind: probe.KindPod, Addr: addr}}, probe.Waits{Check: 600 * time.Millisecond})
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
	want := probe.Report{Checks: []probe.Check{{TCPErr: 1, UDPErr: 1}}, Errors: []string{"refused"}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLateAnswer: a datagram's answer that comes after it was given up is not
// taken for that of the next one. A busy machine does this.
func TestLateAnswer(t *testing.T) {
	c, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for i := 0; ; i++ {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if i == 0 {
				time.Sleep(700 * time.Millisecond)
			}
			_, _ = c.WriteTo(buf[:n], from)
		}
	}()
	r := probe.Run(t.Context(), []probe.Target{{Kind: probe.KindName, Addr: c.LocalAddr().String()}}, probe.Waits{Check: 3 * time.Second, Service: 3 * time.Second})
	if r.Checks[0].TCP == 0 || r.Checks[0].UDP == 0 {
		t.Errorf("%+v", r)
	}
}

func TestParseTarget(t *testing.T) {
	for _, s := range []string{"pod=10.42.1.5:4242", "name=echo.ns.svc:4242", "outside=[2001:db8::1]:443"} {
		got, err := probe.ParseTarget(s)
		if err != nil || got.String() != s {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "pod", "pod=10.42.1.5", "ping=10.42.1.5:1"} {
		if got, err := probe.ParseTarget(s); err == nil {
			t.Errorf("%q is accepted as %v", s, got)
		}
	}
}

// TestFitsTerminationMessage: twelve nodes in both families with a Service and
// something outside, everything failed in its own words; and the most targets
// a prober is ever given.
func TestFitsTerminationMessage(t *testing.T) {
	for _, n := range []int{12*2 + 3, probe.TargetsMax} {
		var r probe.Report
		for i := range n {
			for range 3 {
				r.Errors = append(r.Errors, fmt.Sprintf("error %d of another kind: %s", len(r.Errors), strings.Repeat("x", 300)))
			}
			r.Checks = append(r.Checks, probe.Check{TCPErr: 3*i + 1, UDPErr: 3*i + 2, MTUErr: 3*i + 3, Passes: 1420})
		}
		b, err := probe.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > probe.Limit {
			t.Errorf("%d targets: %d bytes, %d is the limit", n, len(b), probe.Limit)
		}
		back, err := probe.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r.Checks, back.Checks); diff != "" {
			t.Errorf("%d targets (-want +got):\n%s", n, diff)
		}
	}
}

// TestWhole: a report that fits comes back as it was.
func TestWhole(t *testing.T) {
	want := probe.Report{Errors: []string{"no answer"}}
	for range 12 * 2 {
		want.Checks = append(want.Checks, probe.Check{TCP: 12345, UDP: 23456, MTU: 1420, DNSErr: 1})
	}
	b, err := probe.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := probe.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
