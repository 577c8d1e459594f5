// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// world is a gateway, an agent of node "shop-a-1", and an echo service that the
// agent reaches whatever it is asked for.
type world struct {
	gateway *stream.Sessions
	agent   *stream.Server
	service net.Listener
	ended   chan error // of the connections' ends at the agent

	mu      sync.Mutex
	records map[string][]stream.Record
	cut     func()
	first   net.Conn   // the agent's end of its first connection
	serving []net.Conn // of all
}

const name = "shop-a-1"

var kubelet = stream.Call{Target: stream.Target{Node: name, Port: 10250}, Caller: "tester"}

// settings change a world before it begins.
type settings struct {
	gateway func(*stream.SessionsOptions)
	agent   func(*stream.ServerOptions)
	serve   func(net.Conn)
	wires   int
	tls     bool
	alone   bool // no service and no connection: for virtual time, where sockets hang
}

func newWorld(tb testing.TB, set settings) *world {
	tb.Helper()
	w := &world{records: map[string][]stream.Record{}, ended: make(chan error, 8)}
	if set.serve == nil {
		set.serve = echo
	}
	if !set.alone {
		w.service = listen(tb)
		go w.accept(set.serve)
	}
	allow := stream.Allow{Ports: []uint16{10250, 9100}}
	g := stream.SessionsOptions{Allow: allow.Check, Now: time.Now, Done: w.record("gateway")}
	a := stream.ServerOptions{Name: name, Allow: allow.Check, Now: time.Now, Done: w.record("agent"), Dial: w.dial}
	if set.gateway != nil {
		set.gateway(&g)
	}
	if set.agent != nil {
		set.agent(&a)
	}
	w.gateway, w.agent = stream.NewSessions(g), stream.NewServer(a)
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	if set.wires == 0 && !set.alone {
		set.wires = 1
	}
	for range set.wires {
		near, far := pair(tb)
		if set.tls {
			near, far = secure(tb)
		}
		w.connect(ctx, tb, near, far)
	}
	return w
}

// connect adds one more connection of the agent.
func (w *world) connect(ctx context.Context, tb testing.TB, near, far net.Conn) {
	tb.Helper()
	w.cut = func() { _ = near.Close() }
	conns := w.conns()
	w.serving = append(w.serving, near)
	w.first = w.serving[0]
	go func() { w.ended <- w.agent.Serve(ctx, near) }()
	go func() {
		_ = w.gateway.Serve(ctx, far, stream.Far{Name: name, UID: "1", Expires: time.Now().Add(time.Hour)})
	}()
	until(tb, func() bool { return w.conns() > conns })
}

func (w *world) served() []net.Conn { return w.serving }

func (w *world) conns() int {
	for _, s := range w.gateway.List() {
		if s.Node == name {
			return s.Conns
		}
	}
	return 0
}

func (w *world) accept(serve func(net.Conn)) {
	for {
		c, err := w.service.Accept()
		if err != nil {
			return
		}
		go serve(c)
	}
}

func (w *world) dial(ctx context.Context, _ stream.Call) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", w.service.Addr().String())
}

func (w *world) record(end string) func(stream.Record) {
	return func(r stream.Record) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.records[end] = append(w.records[end], r)
	}
}

// last waits for the nth record of one end.
func (w *world) last(tb testing.TB, end string, n int) stream.Record {
	tb.Helper()
	var r []stream.Record
	until(tb, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		r = slices.Clone(w.records[end])
		return len(r) >= n
	})
	return r[n-1]
}

func (w *world) open(tb testing.TB) stream.Conn {
	tb.Helper()
	c, err := w.gateway.Open(tb.Context(), kubelet)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// refused is the code that a call is refused with.
func (w *world) refused(tb testing.TB, c stream.Call) stream.Code {
	tb.Helper()
	conn, err := w.gateway.Open(tb.Context(), c)
	var r *stream.Refusal
	if !errors.As(err, &r) {
		tb.Fatalf("open %s: %v, %v; want a refusal", c.Target, conn, err)
	}
	tb.Log(r)
	return r.Code
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// pair is the two ends of a TCP connection.
func pair(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	l := listen(tb)
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	near, err := new(net.Dialer).DialContext(tb.Context(), "tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	far = <-accepted
	tb.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func until(tb testing.TB, f func() bool) {
	tb.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("waited for 10 s")
		}
	}
}

func echo(c net.Conn) {
	defer c.Close()
	_, _ = io.Copy(c, c)
	_ = c.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // the test listens on TCP
}

// say writes and reads back the same number of bytes.
func say(tb testing.TB, c net.Conn, text string) string {
	tb.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
