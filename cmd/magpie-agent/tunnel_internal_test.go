// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

func TestTunnelCarries(t *testing.T) {
	c := newCloud(t)
	g1, g2 := c.start("g1", ""), c.start("g2", "")
	port := echoPort(t)
	e := newEdge(t, c, "a-1", []int{port}, g1.addr, g2.addr).run(t)
	e.has(t, 10*time.Second, "g1", "g2")
	for _, g := range []*instance{g1, g2} {
		conn := g.talk(t, "a-1", port)
		// The end of one direction does not end the other.
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
			t.Errorf("read to the end: %q, %v", rest, err)
		}
		_ = conn.Close()
	}
	list := g1.sessions.List()
	if len(list) != 1 || list[0].Node != "a-1" || list[0].Answer.Node != "a-1" {
		t.Errorf("the gateway knows %+v", list)
	}
}

// TestTunnelRefuses plays a gateway that was broken into: its own list lets
// everything through, the agent's does not.
func TestTunnelRefuses(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	port := echoPort(t)
	closed := echoPort(t) + 1
	e := newEdge(t, c, "a-1", []int{port, closed}, g.addr).run(t)
	e.has(t, 10*time.Second, "g1")
	pod := func(addr string, port int) stream.Target {
		return stream.Target{Node: "a-1", Addr: netip.MustParseAddr(addr), Port: uint16(port)}
	}
	for name, want := range map[string]struct {
		target stream.Target
		code   stream.Code
	}{
		"a port that is not declared":   {stream.Target{Node: "a-1", Port: 22}, stream.CodeNotAllowed},
		"a port where nobody listens":   {stream.Target{Node: "a-1", Port: uint16(closed)}, stream.CodeDialFailed},
		"loopback as a pod":             {pod("127.64.0.1", port), stream.CodeNotAllowed},
		"loopback dressed as IPv6":      {pod("::ffff:127.0.0.1", port), stream.CodeNotAllowed},
		"the clouds' metadata":          {pod("169.254.169.254", 80), stream.CodeNotAllowed},
		"metadata of Alibaba Cloud":     {pod("100.100.100.200", 80), stream.CodeNotAllowed},
		"a pod of another node":         {pod("10.42.9.9", 8443), stream.CodeNotAllowed},
		"the neighbour's web interface": {pod("192.168.1.1", 443), stream.CodeNotAllowed},
	} {
		if code := g.refused(t, want.target); code != want.code {
			t.Errorf("%s: %s, want %s", name, code, want.code)
		}
	}
	registry := prometheus.NewRegistry()
	e.metrics.register(registry)
	if got := values(t, registry, "magpie_tunnel_streams_total"); got["not-allowed"] != 7 || got["dial-failed"] != 1 {
		t.Errorf("counted %v, want 7 not allowed and a failed one", got)
	}
}

// TestTunnelReachesNoHostAsPod: the node's own addresses within its pod CIDR,
// such as the overlay device's, are not pods.
func TestTunnelReachesNoHostAsPod(t *testing.T) {
	own, err := hostAddrs()
	if err != nil || len(own) == 0 {
		t.Fatal(own, err)
	}
	e := newEdge(t, newCloud(t), "a-1", nil)
	for _, addr := range own {
		_, err := e.reach(t.Context(), stream.Call{Target: stream.Target{Node: "a-1", Addr: addr, Port: 22}})
		if err == nil || !strings.Contains(err.Error(), string(stream.CodeNotAllowed)) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// TestTunnelFindsKubelet: one that listens on the node's address only is
// reached there.
func TestTunnelFindsKubelet(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	l := listenOn(t, "127.77.0.9:0")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	e := newEdge(t, c, "a-1", []int{port}, g.addr)
	v := viewOf("a-1", g.addr)
	v.Self.Underlay4 = fleet.Underlay{Dev: "lo", Addr: netip.MustParseAddr("127.77.0.9")}
	e.current.Store(v)
	e.run(t).has(t, 10*time.Second, "g1")
	_ = g.talk(t, "a-1", port).Close()
}

func TestTunnelFindsInstancesBehindBalancer(t *testing.T) {
	c := newCloud(t)
	for _, name := range []string{"g1", "g2", "g3"} {
		c.start(name, "")
	}
	e := newEdge(t, c, "a-1", nil, c.balance()).run(t)
	e.has(t, 20*time.Second, "g1", "g2", "g3")
}

// TestTunnelComesBack: a gateway is killed and another takes its address.
func TestTunnelComesBack(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	port := echoPort(t)
	e := newEdge(t, c, "a-1", []int{port}, g.addr).run(t)
	e.has(t, 10*time.Second, "g1")
	conn := g.talk(t, "a-1", port)
	g.stop()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a stream outlived its gateway")
	}
	eventually(t, 5*time.Second, "the loss is noticed", func() bool { return len(e.Sessions()) == 0 })
	time.Sleep(time.Second)
	again := c.start("g1-new", g.addr)
	e.has(t, 10*time.Second, "g1-new")
	_ = again.talk(t, "a-1", port).Close()
}

// TestTunnelLeavesDraining: a gateway that shuts down has its streams run on,
// and new ones go to the one that comes in its place.
func TestTunnelLeavesDraining(t *testing.T) {
	c := newCloud(t)
	old := c.start("g1", "")
	port := echoPort(t)
	e := newEdge(t, c, "a-1", []int{port}, c.balance()).run(t)
	eventually(t, 10*time.Second, "a session", func() bool { return len(e.Sessions()) > 0 })
	running := old.talk(t, "a-1", port)
	c.forget(old)
	next := c.start("g2", "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		old.sessions.Drain(ctx)
		close(drained)
	}()
	eventually(t, 5*time.Second, "sessions with g2 only", func() bool {
		got := e.instancesOf()
		return len(got) > 0 && got[0] == "g2"
	})
	say(t, running, "still here")
	_ = next.talk(t, "a-1", port).Close()
	_ = running.Close()
	select {
	case <-drained:
	case <-time.After(5 * time.Second):
		t.Error("the gateway waits although no stream is left")
	}
}

// TestTunnelSaysWhyItIsRefused: a gateway looks at our certificate last, and
// what it says reaches the operator.
func TestTunnelSaysWhyItIsRefused(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	e := newEdge(t, c, "a-1", nil, g.addr)
	e.certs.own.Store(newCloud(t).issue(identity.Agent, "a-1")) // another cluster's
	e.run(t)
	eventually(t, 10*time.Second, "it says why", func() bool {
		return strings.HasPrefix(e.metrics.why(), "tls: ") && strings.Contains(e.metrics.why(), "certificate")
	})
}

// TestTunnelRenews: a stream runs on while the certificate changes, and new
// ones go over connections with the new certificate.
func TestTunnelRenews(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	port := echoPort(t)
	e := newEdge(t, c, "a-1", []int{port}, g.addr).run(t)
	e.has(t, 10*time.Second, "g1")
	running := g.talk(t, "a-1", port)
	eventually(t, 10*time.Second, "a second connection while a stream runs", func() bool { return len(e.Sessions()) == 2 })
	before := map[int]bool{}
	for _, s := range e.Sessions() {
		before[s.Conn] = true
	}
	e.certs.renew(c.issue(identity.Agent, "a-1"))
	eventually(t, 20*time.Second, "only new connections serve", func() bool {
		sessions := e.Sessions()
		return len(sessions) > 0 && !before[sessions[0].Conn] && !before[sessions[len(sessions)-1].Conn]
	})
	say(t, running, "still here")
	_ = g.talk(t, "a-1", port).Close()
	say(t, running, "and still")
	_ = running.Close()
	eventually(t, 10*time.Second, "the old connections are closed", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		for id := range before {
			if e.conns[id] != nil {
				return false
			}
		}
		return true
	})
}

// TestTunnelFollowsAddresses: an address is replaced, then all are withdrawn; a
// stream that runs ends by itself.
func TestTunnelFollowsAddresses(t *testing.T) {
	c := newCloud(t)
	g1, g2 := c.start("g1", ""), c.start("g2", "")
	port := echoPort(t)
	e := newEdge(t, c, "a-1", []int{port}, g1.addr).run(t)
	eventually(t, 10*time.Second, "a session with g1", func() bool { return len(e.instancesOf()) > 0 })
	running := g1.talk(t, "a-1", port)
	e.publish(viewOf("a-1", g2.addr))
	eventually(t, 20*time.Second, "sessions with g2 only", func() bool {
		got := e.instancesOf()
		return len(got) > 0 && got[0] == "g2"
	})
	say(t, running, "still here")
	e.publish(viewOf("a-1"))
	eventually(t, 10*time.Second, "no session", func() bool { return len(e.Sessions()) == 0 })
	say(t, running, "and still")
	_ = running.Close()
	eventually(t, 10*time.Second, "no connection", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.conns) == 0
	})
}

// TestTunnelThroughProxy: the environment names a proxy, and everything goes
// through it.
func TestTunnelThroughProxy(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	port := echoPort(t)
	var mu sync.Mutex
	asked := 0
	l := listenOn(t, "127.0.0.1:0")
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		splice(near, r.Host)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	e := newEdge(t, c, "a-1", []int{port}, g.addr)
	e.wire.Proxy = func(*url.URL) (*url.URL, error) { return url.Parse("http://" + l.Addr().String()) }
	e.run(t).has(t, 10*time.Second, "g1")
	_ = g.talk(t, "a-1", port).Close()
	mu.Lock()
	defer mu.Unlock()
	if asked == 0 {
		t.Error("the proxy was not asked")
	}
}

// TestTunnelThroughNeighbour: a node without a way out gets out through the
// gateway node of its site.
func TestTunnelThroughNeighbour(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	port := echoPort(t)
	site := func(self string) *fleet.View {
		v := viewOf(self, g.addr)
		v.Self.Underlay4 = fleet.Underlay{Dev: "lo", Addr: netip.MustParseAddr("127.77.0.2")}
		v.Domains[1].Nodes = []fleet.Node{
			{Name: "a-1", Addr4: netip.MustParseAddr("127.0.0.1")},
			{Name: "a-2", Addr4: netip.MustParseAddr("127.77.0.2")},
		}
		v.Domains[1].Gateways = []fleet.Gateway{{Node: "a-2", Active: true}}
		return v
	}
	neighbour := newEdge(t, c, "a-2", []int{port})
	neighbour.current.Store(site("a-2"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- neighbour.runRelay(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	e := newEdge(t, c, "a-1", []int{port})
	e.current.Store(site("a-1"))
	e.wire.Proxy = func(*url.URL) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") } // leads nowhere
	e.run(t).has(t, 15*time.Second, "g1")
	if via := e.Sessions()[0].Via; via != fmt.Sprint("127.77.0.2:", api.PortTunnelRelay) {
		t.Errorf("went through %q", via)
	}
	eventually(t, 5*time.Second, "the gateway knows", func() bool {
		return g.sessions.List()[0].Answer.Via == e.Sessions()[0].Via
	})
	_ = g.talk(t, "a-1", port).Close()
	if n := neighbour.relay.Open(); n == 0 {
		t.Error("the neighbour carries nothing")
	}
}

// TestTunnelDrains: told to stop, the agent lets a stream end that ends soon
// and takes no new one.
func TestTunnelDrains(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	port := echoPort(t)
	e := newEdge(t, c, "a-1", []int{port}, g.addr).run(t)
	e.has(t, 10*time.Second, "g1")
	running := g.talk(t, "a-1", port)
	stopped := make(chan struct{})
	go func() {
		e.stop()
		close(stopped)
	}()
	eventually(t, 3*time.Second, "new streams are refused", func() bool {
		return g.refused(t, stream.Target{Node: "a-1", Port: uint16(port)}) != "opened"
	})
	say(t, running, "still here")
	_ = running.Close()
	select {
	case <-stopped:
	case <-time.After(3 * time.Second):
		t.Error("it waits although no stream is left")
	}
}

// TestTunnelConditions: what is wrong is said, and said no more when it is
// right.
func TestTunnelConditions(t *testing.T) {
	c := newCloud(t)
	l := listenOn(t, "127.0.0.1:0")
	addr := l.Addr().String()
	_ = l.Close()
	e := newEdge(t, c, "a-1", nil, addr)
	own := e.certs.own.Swap(nil)
	later := time.Now().Add(time.Hour)
	shown := func(want ...health.Code) func() bool {
		return func() bool {
			var got []health.Code
			for _, f := range e.conditions.tracker.Shown(later) {
				got = append(got, f.Code)
			}
			return fmt.Sprint(got) == fmt.Sprint(want)
		}
	}
	e.run(t)
	eventually(t, 10*time.Second, "no certificate", shown(health.TunnelCertificate))
	e.certs.renew(own)
	eventually(t, 10*time.Second, "no gateway", shown(health.TunnelDown))
	eventually(t, 10*time.Second, "it says why", func() bool { return strings.HasPrefix(e.metrics.why(), "tcp: ") })
	c.start("g1", addr)
	eventually(t, 20*time.Second, "nothing is wrong", shown())
	e.certs.ahead.Store(int64(-26 * time.Hour))
	eventually(t, 10*time.Second, "a wrong clock", func() bool {
		found := e.conditions.tracker.Shown(later)
		return shown(health.ClockOff)() && found[0].Detail == "26h0m0s behind the API server's"
	})
	e.certs.ahead.Store(0)
	eventually(t, 10*time.Second, "nothing is wrong any more", shown())
	registry := prometheus.NewRegistry()
	e.metrics.register(registry)
	if got := values(t, registry, "magpie_tunnel_connections"); fmt.Sprint(got) != "map[g1:1]" {
		t.Errorf("connections by gateway: %v", got)
	}
	if got := values(t, registry, "magpie_tunnel_dial_failures_total")["tcp"]; got == 0 {
		t.Error("failed dials are not counted")
	}
}

// values are those of one metric, by the value of its only label.
func values(t *testing.T, r *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				out[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return out
}

// TestTunnelReconnectStorm: 200 agents lose their gateway, and are all back
// soon after its return.
func TestTunnelReconnectStorm(t *testing.T) {
	const agents = 200
	c := newCloud(t)
	g := c.start("g1", "")
	port := echoPort(t)
	var all []*edge
	for i := range agents {
		all = append(all, newEdge(t, c, fmt.Sprintf("node-%d", i), []int{port}, g.addr).run(t))
	}
	connected := func(name string) func() bool {
		return func() bool {
			for _, e := range all {
				if got := e.instancesOf(); len(got) != 1 || got[0] != name {
					return false
				}
			}
			return true
		}
	}
	eventually(t, 60*time.Second, "all connected", connected("g1"))
	g.stop()
	time.Sleep(3 * time.Second)
	again := c.start("g1-new", g.addr)
	begin := time.Now()
	eventually(t, 30*time.Second, "all connected again", connected("g1-new"))
	t.Logf("%d agents are back after %s", agents, time.Since(begin).Round(time.Millisecond))
	_ = again.talk(t, "node-17", port).Close()
}
