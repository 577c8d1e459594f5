// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// siege is how long all attackers go on, and pace how long each rests between
// two blows.
const (
	siege = 3 * time.Second
	pace  = 2 * time.Millisecond
)

// TestSiege lets every attacker of issue 3 at one instance at the same time.
// Each is refused and counted; a person's stream through it does not notice, a
// node from elsewhere comes in meanwhile, and nothing of it stays.
func TestSiege(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "connect.sock")
	in := w.gateway(t, "gw-0", func(c *Config) {
		c.Entries.Connect.Unix, c.Entries.Connect.Listen = path, "127.0.0.1:0"
		c.Entries.HTTP.Listen, c.Entries.SNI.Listen = "127.0.0.1:0", "127.0.0.1:0"
		c.Entries.SNI.Sources = []string{"10.0.0.0/8"}
	})
	until(t, "ready", func() bool { return in.ready() == nil })
	w.agent(t, "shop-a-1", echo(t, ""), in)
	_, good := connectUnix(t, path, "shop-a-1:10250")
	before := runtime.NumGoroutine()

	ctx, end := context.WithTimeout(t.Context(), siege)
	defer end()
	var attackers sync.WaitGroup
	for _, attack := range besiegers(t, w, in) {
		attackers.Go(func() {
			for ctx.Err() == nil {
				attack(ctx)
				time.Sleep(pace)
			}
		})
	}
	slowest, words, late := time.Duration(0), 0, false
	for ; ctx.Err() == nil; words++ {
		began := time.Now()
		check(t, talk(t, good, "word"))
		slowest = max(slowest, time.Since(began))
		if !late && words > 100 {
			late = true
			comesFrom(t, w.badge(t, identity.Agent, "shop-b-1"), in, "127.0.0.99")
		}
	}
	attackers.Wait()
	t.Logf("%d words, the slowest took %s", words, slowest)
	if slowest > 2*time.Second || !late { // an unlucky moment of a busy machine, not a stall
		t.Errorf("%d words, the slowest took %s", words, slowest)
	}
	for metric, labels := range map[string][][]string{
		"magpie_tunnel_handshakes_total": {{"certificate"}, {"protocol"}, {"banned"}},
		"magpie_tunnel_refusals_total":   {{"http", "unauthenticated"}, {"connect", "unauthenticated"}, {"sni", "forbidden"}},
	} {
		for _, l := range labels {
			n := in.count(t, metric, l...)
			t.Logf("%s %v: %v", metric, l, n)
			if n == 0 {
				t.Errorf("%s%v counts nothing", metric, l)
			}
		}
	}
	if lines := strings.Count(in.logs.String(), "level=WARN"); lines == 0 || lines > 20*refusalsBurst {
		t.Errorf("%d lines in the log", lines)
	}
	until(t, "all traces to be gone", func() bool {
		return !in.sessions.Has("shop-flood") && runtime.NumGoroutine() < before+20
	})
}

// comesFrom lets a node in from an address that no attacker has.
func comesFrom(t *testing.T, b badge, in *instance, source string) {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}, Config: b.client(stream.ProtoAgent)}
	conn, err := d.DialContext(t.Context(), "tcp", in.ls.agents.Addr().String())
	check(t, err)
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("a node from elsewhere is not let in: %v", err)
	}
}

// besiegers are the attackers: each blow is one call.
func besiegers(t *testing.T, w *world, in *instance) map[string]func(context.Context) {
	t.Helper()
	foreign := newWorld(t).badge(t, identity.Agent, "shop-a-1")
	foreign.roots = w.badge(t, identity.Caller, "x").roots
	flood := w.badge(t, identity.Agent, "shop-flood")
	knock := func(ctx context.Context, to net.Listener, say []byte) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.Addr().String())
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(say)
		_, _ = io.Copy(io.Discard, conn)
	}
	shake := func(ctx context.Context, to net.Listener, c *tls.Config, say string) {
		conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", to.Addr().String())
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, say)
		_, _ = io.Copy(io.Discard, conn)
	}
	nobody := w.badge(t, identity.Caller, "x").client("http/1.1")
	nobody.Certificates = nil
	begun := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // of a hello, and no more
	return map[string]func(context.Context){
		"leaves handshakes open": func(ctx context.Context) {
			for range 20 {
				go knock(ctx, in.ls.agents, begun)
			}
			time.Sleep(50 * time.Millisecond)
		},
		"has another cluster's certificate": func(ctx context.Context) { shake(ctx, in.ls.agents, foreign.client(stream.ProtoAgent), "") },
		"speaks no TLS":                     func(ctx context.Context) { knock(ctx, in.ls.agents, []byte("GET / HTTP/1.1\r\n\r\n")) },
		"has no token": func(ctx context.Context) {
			shake(ctx, in.ls.http, nobody, "GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		},
		"shows no certificate": func(ctx context.Context) {
			shake(ctx, in.ls.connect, nobody, "CONNECT shop-a-1:10250 HTTP/1.1\r\nHost: x\r\n\r\n")
		},
		"comes from elsewhere": func(ctx context.Context) { knock(ctx, in.ls.sni, begun) },
		"is a node and floods": func(ctx context.Context) {
			c := flood.client(stream.ProtoAgent)
			conn, err := (&tls.Dialer{Config: c, NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.98")}}}).DialContext(ctx, "tcp", in.ls.agents.Addr().String())
			if err != nil {
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			fr := http2.NewFramer(conn, conn)
			for fr.WritePing(false, [8]byte{}) == nil {
			}
		},
	}
}
