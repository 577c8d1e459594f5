// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// count reads one counter of an instance.
func (in *instance) count(t *testing.T, metric string, labels ...string) float64 {
	t.Helper()
	families, err := in.audit.registry.Gather()
	check(t, err)
	var sum float64
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == metric && !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(values, l) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// enters reports whether somebody with that badge gets past the door.
func enters(t *testing.T, in *instance, b badge, proto string) bool {
	t.Helper()
	conn, err := (&tls.Dialer{Config: b.client(proto)}).DialContext(t.Context(), "tcp", in.ls.agents.Addr().String())
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 1)) // TLS 1.3: the refusal comes after the client is done
	return err == nil
}

// TestDoorKnowsWho: whoever has no certificate, or not the right one for what
// it claims to be, gets in under no name at all.
func TestDoorKnowsWho(t *testing.T) {
	w := newWorld(t)
	in := w.gateway(t, "gw-0", nil)
	until(t, "ready", func() bool { return in.ready() == nil })
	until(t, "known", func() bool { return len(w.Instances()) == 1 })
	foreign := newWorld(t)
	trusting := func(b badge) badge { b.roots = w.badge(t, identity.Caller, "x").roots; return b }
	agent := w.badge(t, identity.Agent, "shop-a-1")
	deleted := w.badge(t, identity.Agent, "shop-gone")
	replaced := w.badge(t, identity.Agent, "shop-again")
	w.change(func() { delete(w.nodes, "shop-gone"); w.nodes["shop-again"] = "another uid" })
	nobody := agent
	nobody.own = tls.Certificate{}
	for name, c := range map[string]struct {
		b     badge
		proto string
	}{
		"no certificate":                 {nobody, stream.ProtoAgent},
		"another cluster's node":         {trusting(foreign.badge(t, identity.Agent, "shop-a-1")), stream.ProtoAgent},
		"another cluster's gateway":      {trusting(foreign.badge(t, identity.Gateway, "gw-0")), stream.ProtoPeer},
		"a node that was deleted":        {deleted, stream.ProtoAgent},
		"a node that was made again":     {replaced, stream.ProtoAgent},
		"a node that plays gateway":      {agent, stream.ProtoPeer},
		"a caller that plays node":       {w.badge(t, identity.Caller, "shop-a-1"), stream.ProtoAgent},
		"a gateway that plays node":      {w.badge(t, identity.Gateway, "gw-0"), stream.ProtoAgent},
		"a gateway that nobody knows":    {w.badge(t, identity.Gateway, "gw-9"), stream.ProtoPeer},
		"a node that speaks plain HTTP2": {agent, "h2"},
	} {
		before := in.count(t, "magpie_tunnel_handshakes_total", "certificate") + in.count(t, "magpie_tunnel_handshakes_total", "protocol")
		if enters(t, in, c.b, c.proto) {
			t.Errorf("%s: gets in", name)
		}
		until(t, name+" is counted", func() bool {
			return in.count(t, "magpie_tunnel_handshakes_total", "certificate")+in.count(t, "magpie_tunnel_handshakes_total", "protocol") == before+1
		})
	}
	if n := len(in.sessions.List()) + len(in.peers.List()); n != 0 {
		t.Errorf("%d sessions", n)
	}
	if !enters(t, in, agent, stream.ProtoAgent) {
		t.Error("after all that, the node itself does not get in")
	}
}

// TestAgentCanNotAsk: an edge node that opens streams towards the cloud, as if
// it were the gateway, loses its connection and nobody else does.
func TestAgentCanNotAsk(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "connect.sock")
	in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Unix = path })
	until(t, "ready", func() bool { return in.ready() == nil })
	w.agent(t, "shop-a-1", echo(t, ""), in)
	_, good := connectUnix(t, path, "shop-a-1:10250")

	evil := dialTLS(t, in.ls.agents, w.badge(t, identity.Agent, "shop-evil").client(stream.ProtoAgent))
	_, err := io.WriteString(evil, http2.ClientPreface)
	check(t, err)
	fr := http2.NewFramer(evil, evil)
	_ = fr.WriteSettings()
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82, 0x84, 0x86}, EndHeaders: true})
	_ = evil.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, evil); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("it may go on")
	}
	until(t, "evil is out", func() bool { return !in.sessions.Has("shop-evil") })
	_, err = io.WriteString(good, "there")
	check(t, err)
	b := make([]byte, 5)
	if _, err := io.ReadFull(good, b); err != nil || string(b) != "there" {
		t.Errorf("another's stream: %q, %v", b, err)
	}
}

// TestPeerIsNoWayAround: another instance, or who has its certificate, asks for
// what is off the list, for a pod of the cloud, for the gateway itself.
func TestPeerIsNoWayAround(t *testing.T) {
	w := newWorld(t)
	in := w.gateway(t, "gw-0", nil)
	until(t, "ready", func() bool { return in.ready() == nil })
	w.agent(t, "shop-a-1", echo(t, "hi"), in)
	w.change(func() { w.instances = append(w.instances, cluster.Instance{Name: "gw-1"}) })
	conn := dialTLS(t, in.ls.agents, w.badge(t, identity.Gateway, "gw-1").client(stream.ProtoPeer))
	mine := stream.NewSessions(stream.SessionsOptions{Allow: func(stream.Target) error { return nil }, Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = mine.Serve(ctx, conn, stream.Far{Name: "gw-0"}) }()
	defer func() { cancel(); <-done }()
	until(t, "session", func() bool { return mine.Has("gw-0") })
	for target, want := range map[string]stream.Code{
		"shop-a-1:22":                    stream.CodeNotAllowed,
		"127.0.0.1:10250@shop-a-1":       stream.CodeNotAllowed,
		"169.254.169.254:80@shop-a-1":    stream.CodeNotAllowed,
		"100.100.100.200:80@shop-a-1":    stream.CodeNotAllowed,
		"[::ffff:127.0.0.1]:80@shop-a-1": stream.CodeNotAllowed,
		"10.0.0.1:6443@gw-0":             stream.CodeNoSession,
		"shop-b-1:10250":                 stream.CodeNoSession,
		"shop-a-1:10250":                 "",
	} {
		authority, node, found := strings.Cut(target, "@")
		if !found {
			node, _, _ = strings.Cut(target, ":")
		}
		tg, err := stream.ParseTarget(authority, node)
		check(t, err)
		c, err := mine.OpenAt(t.Context(), "gw-0", stream.Call{Target: tg, Caller: "attacker\r\nmsg=forged"})
		var got stream.Code
		if err != nil {
			got = err.(*stream.Refusal).Code //nolint:errorlint,forcetypeassert // that is the contract
		} else {
			_ = c.Close()
		}
		if got != want {
			t.Errorf("%s: %v, want %q", target, err, want)
		}
	}
	if strings.Contains(in.logs.String(), "\nmsg=forged") {
		t.Error("a caller's name made a line of its own in the log")
	}
}

// TestHTTPEntryJudges: the judge behind the HTTP entry: tokens, rights, and
// that a node's or an agent's account has none.
func TestHTTPEntryJudges(t *testing.T) {
	w := newWorld(t)
	in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.HTTP.Listen = "127.0.0.1:0"; c.Allow.Ports = []int{10250, 9100} })
	until(t, "ready", func() bool { return in.ready() == nil })
	w.agent(t, "shop-a-1", site(t, "metrics of"), in)
	w.change(func() {
		w.users["t-prom"] = cluster.User{Name: "system:serviceaccount:monitoring:prometheus"}
		w.users["t-node"] = cluster.User{Name: "system:node:shop-b-1", Groups: []string{"system:nodes"}}
		w.users["t-agent"] = cluster.User{Name: "system:serviceaccount:kube-system:magpie-agent"}
		for _, u := range w.users {
			w.rights[u.Name+" get shop-a-1 metrics"] = true // even if somebody gave them the right
		}
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: w.badge(t, identity.Caller, "x").client("http/1.1"), DisableKeepAlives: true}}
	get := func(token, path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+in.ls.http.Addr().String()+path, nil)
		check(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		check(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		check(t, err)
		return resp.StatusCode, string(b)
	}
	if status, got := get("t-prom", "/nodes/shop-a-1:9100/metrics"); status != 200 || got != "metrics of /metrics" {
		t.Errorf("prometheus: %d %q", status, got)
	}
	for _, c := range []struct{ token, path, want string }{
		{"t-node", "/nodes/shop-a-1:9100/metrics", "forbidden: system:node:shop-b-1 is a node"},
		{"t-agent", "/nodes/shop-a-1:9100/metrics", "forbidden: system:serviceaccount:kube-system:magpie-agent is a node"},
		{"t-nobody", "/nodes/shop-a-1:9100/metrics", "unauthenticated"},
		{"t-prom", "/nodes/shop-a-1:9100/secrets", "forbidden: system:serviceaccount:monitoring:prometheus may not get nodes/proxy"},
		{"t-prom", "/nodes/shop-b-1:9100/metrics", "forbidden"},
	} {
		if status, got := get(c.token, c.path); status < 401 || status > 403 || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s: %d %q, want %s", c.token, c.path, status, got, c.want)
		}
	}
	if n := in.count(t, "magpie_tunnel_refusals_total", "http"); n != 5 {
		t.Errorf("%v refusals counted, want 5", n)
	}
}

// TestRefusalsAreSampled: a million refusals are a million in the counter and a
// hundred lines in the log.
func TestRefusalsAreSampled(t *testing.T) {
	w := newWorld(t)
	in := w.gateway(t, "gw-0", nil)
	for range 10_000 {
		_ = in.roads().Refuse(entryWish(), stream.CodeUnauthenticated, "x")
	}
	if n := in.count(t, "magpie_tunnel_refusals_total", "unauthenticated"); n != 10_000 {
		t.Errorf("counted %v", n)
	}
	if n := strings.Count(in.logs.String(), `msg="stream refused"`); n < refusalsBurst || n > 4*refusalsBurst {
		t.Errorf("%d lines", n)
	}
}

// TestMetricsLint: names and units as Prometheus wants them.
func TestMetricsLint(t *testing.T) {
	in := newWorld(t).gateway(t, "gw-0", nil)
	_ = in.roads().Refuse(entryWish(), stream.CodeForbidden, "x")
	families, err := in.audit.registry.Gather()
	check(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	check(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if in.count(t, "magpie_tunnel_certificate_expiry_timestamp_seconds") < float64(time.Now().Unix()) {
		t.Error("no certificate's end")
	}
}
