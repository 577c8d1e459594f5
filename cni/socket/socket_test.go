// SPDX-License-Identifier: Apache-2.0

package socket_test

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cni/shim"
	"github.com/magpie-edge/magpie/cni/socket"
)

// serve starts a server and returns how to call it.
func serve(t *testing.T, s *socket.Server) (dial func() net.Conn, stop func() error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s.Patience, s.Now = 5*time.Second, time.Now
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = func() error { cancel(); return <-done }
	return func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}, stop
}

func ask(t *testing.T, c net.Conn, command string) {
	t.Helper()
	if err := shim.WriteFrame(c, &shim.Request{Command: command}); err != nil {
		t.Fatal(err)
	}
}

func answer(t *testing.T, c net.Conn) string {
	t.Helper()
	var r shim.Response
	if err := shim.ReadFrame(c, &r); err != nil {
		t.Fatal(err)
	}
	return string(r.Stdout)
}

func TestServeLimitsAndDrains(t *testing.T) {
	var now, most atomic.Int32
	proceed := make(chan struct{})
	s := &socket.Server{Limit: 2, Handle: func(_ context.Context, r shim.Request) shim.Response {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-proceed
		now.Add(-1)
		return shim.Response{Stdout: []byte(r.Command)}
	}}
	dial, stop := serve(t, s)
	var conns []net.Conn
	for _, c := range []string{"a", "b", "c", "d", "e"} {
		conn := dial()
		ask(t, conn, c)
		conns = append(conns, conn)
	}
	for now.Load() < 2 { // both turns are taken before anybody leaves
		time.Sleep(time.Millisecond)
	}
	for range conns {
		proceed <- struct{}{}
	}
	for i, want := range []string{"a", "b", "c", "d", "e"} {
		if got := answer(t, conns[i]); got != want {
			t.Errorf("call %d: %q, want %q", i, got, want)
		}
	}
	if most.Load() != 2 {
		t.Errorf("%d calls at once, want 2", most.Load())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestServeCallerGone: the context ends, a queue place is given up, and an
// answer that nobody takes is told.
func TestServeCallerGone(t *testing.T) {
	started, told := make(chan string, 9), make(chan string, 9)
	s := &socket.Server{
		Limit: 1,
		Handle: func(ctx context.Context, r shim.Request) shim.Response {
			started <- r.Command
			if r.Command == "waits" {
				<-ctx.Done()
			}
			return shim.Response{Stdout: make([]byte, 3<<20)} // more than a socket buffers
		},
		Undelivered: func(r shim.Request, _ shim.Response) { told <- r.Command },
	}
	dial, stop := serve(t, s)
	a := dial()
	ask(t, a, "waits")
	if got := <-started; got != "waits" {
		t.Fatal(got)
	}
	b := dial()
	ask(t, b, "queued")
	time.Sleep(20 * time.Millisecond) // let it queue
	_ = b.Close()
	time.Sleep(20 * time.Millisecond) // let it leave
	_ = a.Close()
	if got := <-told; got != "waits" {
		t.Errorf("told of %q", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(started) != 0 {
		t.Errorf("%q was worked on although its caller had gone", <-started)
	}
}

func TestServeNonsense(t *testing.T) {
	dial, stop := serve(t, &socket.Server{Limit: 1, Handle: func(context.Context, shim.Request) shim.Response { panic("called") }})
	for _, b := range [][]byte{{}, {0, 0, 0, 1, '{'}, {255, 255, 255, 255}, {0, 0, 0, 2, 'x', 'y'}} {
		c := dial()
		if _, err := c.Write(b); err != nil {
			t.Error(err)
		}
		_ = c.(*net.UnixConn).CloseWrite()
		if n, _ := c.Read(make([]byte, 1)); n != 0 {
			t.Errorf("%v was answered", b)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
