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
}

const name = "shop-a-1"

var kubelet = stream.Call{Target: stream.Target{Node: name, Port: 10250}, Caller: "tester"}

// settings change a world before it begins.
type settings struct {
	gateway func(*stream.SessionsOptions)
	agent   func(*stream.ServerOptions)
	serve   func(net.Conn)
	wires   int
}

func newWorld(t *testing.T, set settings) *world {
	t.Helper()
	w := &world{records: map[string][]stream.Record{}, ended: make(chan error, 8)}
	w.service = listen(t)
	if set.serve == nil {
		set.serve = echo
	}
	go func() {
		for {
			c, err := w.service.Accept()
			if err != nil {
				return
			}
			go set.serve(c)
		}
	}()
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
	t.Cleanup(cancel)
	for range max(set.wires, 1) {
		w.connect(ctx, t)
	}
	return w
}

// connect dials one more connection of the agent.
func (w *world) connect(ctx context.Context, t *testing.T) {
	t.Helper()
	near, far := pair(t)
	w.cut = func() { _ = near.Close() }
	conns := w.conns()
	go func() { w.ended <- w.agent.Serve(ctx, near) }()
	go func() {
		_ = w.gateway.Serve(ctx, far, stream.Far{Name: name, UID: "1", Expires: time.Now().Add(time.Hour)})
	}()
	until(t, func() bool { return w.conns() > conns })
}

func (w *world) conns() int {
	for _, s := range w.gateway.List() {
		if s.Node == name {
			return s.Conns
		}
	}
	return 0
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
func (w *world) last(t *testing.T, end string, n int) stream.Record {
	t.Helper()
	var r []stream.Record
	until(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		r = slices.Clone(w.records[end])
		return len(r) >= n
	})
	return r[n-1]
}

func (w *world) open(t *testing.T) stream.Conn {
	t.Helper()
	c, err := w.gateway.Open(t.Context(), kubelet)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused is the code that a call is refused with.
func (w *world) refused(t *testing.T, c stream.Call) stream.Code {
	t.Helper()
	conn, err := w.gateway.Open(t.Context(), c)
	var r *stream.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("open %s: %v, %v; want a refusal", c.Target, conn, err)
	}
	t.Log(r)
	return r.Code
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// pair is the two ends of a TCP connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l := listen(t)
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	near, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far = <-accepted
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func until(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for 10 s")
		}
	}
}

func echo(c net.Conn) {
	defer c.Close()
	_, _ = io.Copy(c, c)
	_ = c.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // the test listens on TCP
}

// say writes and reads back the same number of bytes.
func say(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}
