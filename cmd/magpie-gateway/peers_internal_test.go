// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/directory"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// pair starts two instances that know each other; streams enter the first.
func pair(t *testing.T, w *world) (a, b *instance, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "connect.sock")
	a = w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Unix = path })
	b = w.gateway(t, "gw-1", nil)
	until(t, "instances to meet", func() bool { return a.peers.Has("gw-1") && b.peers.Has("gw-0") })
	return a, b, path
}

// talk sends a word on a stream and expects it back.
func talk(t *testing.T, c net.Conn, word string) error {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, word); err != nil {
		return err
	}
	b := make([]byte, len(word))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != word {
		return errors.New("got " + string(b))
	}
	return nil
}

// TestAnyInstanceServesAnyNode: a stream that arrives where its node is not
// connected is passed on, and counted there as another's.
func TestAnyInstanceServesAnyNode(t *testing.T) {
	w := newWorld(t)
	a, b, path := pair(t, w)
	w.agent(t, "shop-a-1", echo(t, ""), b)
	status, c := connectUnix(t, path, "shop-a-1:10250")
	if status != "200 Connection established" {
		t.Fatal(status)
	}
	check(t, talk(t, c, "hello"))
	_ = c.Close()
	until(t, "both lines of audit", func() bool {
		return strings.Contains(a.logs.String(), `msg="stream ended" caller="connect unix" node=shop-a-1`) &&
			strings.Contains(b.logs.String(), `msg="stream ended" caller="peer connect unix" node=shop-a-1`)
	})
	// A node that nobody has: both were asked, the reason is in the status line.
	w.change(func() { w.nodes["shop-off"] = "uid" })
	if status, _ := connectUnix(t, path, "shop-off:10250"); !strings.HasPrefix(status, "503 no-session: node shop-off is not connected to any gateway") {
		t.Error(status)
	}
	if n := a.count(t, "magpie_tunnel_refusals_total", "no-session", "connect"); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}
}

// TestPassedOnOnce: what comes from a peer is answered from own sessions only,
// or two instances would ask each other for ever.
func TestPassedOnOnce(t *testing.T) {
	w := newWorld(t)
	a, b, _ := pair(t, w)
	w.agent(t, "shop-a-1", echo(t, ""), a)
	_, err := a.peers.OpenAt(t.Context(), "gw-1", stream.Call{Target: stream.Target{Node: "shop-a-1", Port: 10250}})
	var why *stream.Refusal
	if !errors.As(err, &why) || why.Code != stream.CodeNoSession {
		t.Errorf("asked for a node that only we have: %v", err)
	}
	if n := b.count(t, "magpie_tunnel_peers"); n != 1 {
		t.Errorf("%v peers", n)
	}
}

// TestInstanceJoins: agents are told at once that there is another instance.
func TestInstanceJoins(t *testing.T) {
	w := newWorld(t)
	in := w.gateway(t, "gw-0", nil)
	until(t, "ready", func() bool { return in.ready() == nil })
	a := w.agent(t, "shop-a-1", echo(t, ""), in)
	w.gateway(t, "gw-1", nil)
	until(t, "the agent to know both", func() bool {
		h, _ := a.told.Load().(stream.Hello)
		return h.Instance == "gw-0" && slices.Equal(h.Instances, []string{"gw-0", "gw-1"})
	})
}

// TestDyingInstance: streams through an instance that is gone end at once, and
// those that do not need it go on.
func TestDyingInstance(t *testing.T) {
	w := newWorld(t)
	a, b, path := pair(t, w)
	w.agent(t, "shop-a-1", echo(t, ""), b)
	w.agent(t, "shop-b-1", echo(t, ""), a)
	_, over := connectUnix(t, path, "shop-a-1:10250")
	_, here := connectUnix(t, path, "shop-b-1:10250")
	check(t, talk(t, over, "hello"))
	// Its machine loses power: no FIN comes, its endpoint goes.
	w.change(func() {
		w.instances = slices.DeleteFunc(w.instances, func(i cluster.Instance) bool { return i.Name == "gw-1" })
	})
	began := time.Now()
	_ = over.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := over.Read(make([]byte, 1)); n != 0 || err == nil || time.Since(began) > 3*time.Second {
		t.Errorf("after %s: %d bytes, %v", time.Since(began), n, err)
	}
	if err := talk(t, here, "hello"); err != nil {
		t.Errorf("a stream that did not need it: %v", err)
	}
	if status, _ := connectUnix(t, path, "shop-a-1:10250"); !strings.HasPrefix(status, "503 no-session") {
		t.Error(status)
	}
}

// TestDrain: an instance that stops lets open streams finish, sends new ones by
// way of the others, and cuts what is left when its time is over.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	a, b, path := pair(t, w)
	w.agent(t, "shop-a-1", echo(t, ""), a, b)
	_, stays := connectUnix(t, path, "shop-a-1:10250")
	check(t, talk(t, stays, "before"))
	began := time.Now()
	a.stop()
	until(t, "not ready", func() bool { return a.ready() != nil })
	check(t, talk(t, stays, "while it drains"))
	if status, _ := connectUnix(t, path, "shop-a-1:10250"); !strings.HasPrefix(status, "200") {
		t.Errorf("a new stream, which another instance could carry: %s", status)
	}
	_ = stays.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := stays.Read(make([]byte, 1)); err == nil || time.Since(began) < time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	<-a.done
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s, the limit is 2 s", took)
	}
	if !b.sessions.Has("shop-a-1") {
		t.Error("the other instance has lost its session, too")
	}
}

// TestRemovedNode: a node that is deleted is cut in the middle of its streams,
// and does not come back.
func TestRemovedNode(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "connect.sock")
	in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Unix = path })
	until(t, "ready", func() bool { return in.ready() == nil })
	w.agent(t, "shop-a-1", echo(t, ""), in)
	w.agent(t, "shop-b-1", echo(t, ""), in)
	_, cut := connectUnix(t, path, "shop-a-1:10250")
	_, good := connectUnix(t, path, "shop-b-1:10250")
	check(t, talk(t, cut, "hello"))
	b := w.badge(t, identity.Agent, "shop-a-1")
	w.change(func() { delete(w.nodes, "shop-a-1") })
	began := time.Now()
	w.gone <- cluster.Removed{Node: "shop-a-1", UID: "uid-shop-a-1", Why: "the node was deleted"}
	_ = cut.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := cut.Read(make([]byte, 1)); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if enters(t, in, b, stream.ProtoAgent) {
		t.Error("it comes back with its old certificate")
	}
	check(t, talk(t, good, "hello"))
}

// TestSessionsPage: what magpiectl reads, and that agents are told every
// instance.
func TestSessionsPage(t *testing.T) {
	w := newWorld(t)
	a, _, _ := pair(t, w)
	w.agent(t, "shop-a-1", echo(t, ""), a)
	var got status
	until(t, "the answer to hello", func() bool {
		got = status{}
		check(t, json.Unmarshal([]byte(fetch(t, a, "/sessions")), &got))
		return len(got.Sessions) == 1 && got.Sessions[0].Answer.Node == "shop-a-1"
	})
	s := got.Sessions[0]
	if diff := cmp.Diff([]string{"gw-0", "gw-1"}, got.Instances); diff != "" || got.Instance != "gw-0" || len(got.Peers) != 1 {
		t.Errorf("instance %q, peers %v (-want +got):\n%s", got.Instance, got.Peers, diff)
	}
	if s.Node != "shop-a-1" || s.Conns != 1 || s.UID != "uid-shop-a-1" || s.Expires.Before(time.Now()) {
		t.Errorf("session %+v", s)
	}
	if got := fetch(t, a, "/readyz"); got != "ok\n" {
		t.Errorf("readyz %q", got)
	}
	if got := fetch(t, a, "/metrics"); !strings.Contains(got, "magpie_tunnel_sessions 1\n") {
		t.Errorf("metrics:\n%s", got)
	}
}

func fetch(t *testing.T, in *instance, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+in.ls.status.Addr().String()+path, nil)
	check(t, err)
	resp, err := http.DefaultClient.Do(req)
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	return string(b)
}

// TestSNI: a control plane that only resolves names reaches the node that its
// TLS hello says, on whichever instance, and a name that is a pod's is none.
func TestSNI(t *testing.T) {
	w := newWorld(t)
	open := func(c *Config) { c.Entries.SNI.Listen, c.Entries.SNI.Sources = "127.0.0.1:0", []string{"127.0.0.0/8"} }
	a := w.gateway(t, "gw-0", open)
	b := w.gateway(t, "gw-1", open)
	until(t, "instances to meet", func() bool { return a.peers.Has("gw-1") && b.peers.Has("gw-0") })
	kubelet := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.TLS.ServerName) }))
	t.Cleanup(kubelet.Close)
	w.agent(t, "shop-a-1", kubelet.Listener.Addr().String(), b)
	w.change(func() {
		w.routes["web"] = []directory.Route{{Node: "shop-a-1", Addr: netip.MustParseAddr("10.1.2.3")}}
	})
	for _, in := range []*instance{a, b} {
		conn := dialTLS(t, in.ls.sni, &tls.Config{ServerName: "shop-a-1", InsecureSkipVerify: true})
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		check(t, err)
		if b, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(b), "shop-a-1") {
			t.Errorf("%q, %v", b, err)
		}
		_ = conn.Close()
		_, err = (&tls.Dialer{Config: &tls.Config{ServerName: "web", InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", in.ls.sni.Addr().String())
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("a pod's name: %v", err)
		}
	}
	until(t, "audit", func() bool { return a.count(t, "magpie_tunnel_streams_total", "sni") == 1 })
}

// TestStuckCaller: callers that never read what a node sends cost those who do
// nothing, on the very same node and connection.
func TestStuckCaller(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "connect.sock")
	in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Unix = path })
	until(t, "ready", func() bool { return in.ready() == nil })
	flood := listenLoopback(t)
	t.Cleanup(func() { _ = flood.Close() })
	go func() {
		for {
			c, err := flood.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				first := make([]byte, 1)
				_, _ = io.ReadFull(c, first)
				if first[0] == 'e' {
					_, _ = io.Copy(c, io.MultiReader(strings.NewReader("e"), c))
					return
				}
				for {
					if _, err := c.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			}()
		}
	}()
	w.agent(t, "shop-a-1", flood.Addr().String(), in)
	for range 5 {
		_, stuck := connectUnix(t, path, "shop-a-1:10250")
		_, err := io.WriteString(stuck, "f")
		check(t, err)
	}
	_, good := connectUnix(t, path, "shop-a-1:10250")
	check(t, talk(t, good, "echo"))
	slowest := time.Duration(0)
	for range 200 {
		began := time.Now()
		check(t, talk(t, good, "word"))
		slowest = max(slowest, time.Since(began))
	}
	if slowest > 2*time.Second { // an unlucky moment of a busy machine, not a stall
		t.Errorf("the slowest of 200 words took %s", slowest)
	}
}
