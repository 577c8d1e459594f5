// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

func TestLimits(t *testing.T) {
	t.Run("streams, at the gateway", func(t *testing.T) {
		w := newWorld(t, settings{gateway: func(o *stream.SessionsOptions) { o.Limits.Streams = 2 }})
		first := w.open(t)
		w.open(t)
		if got := w.refused(t, kubelet); got != stream.CodeTooManyStreams {
			t.Errorf("refused as %s", got)
		}
		_ = first.Close()
		w.last(t, "gateway", 2)
		w.open(t)
	})
	t.Run("streams, at the agent", func(t *testing.T) {
		w := newWorld(t, settings{agent: func(o *stream.ServerOptions) { o.Limits.Streams = 2 }})
		w.open(t)
		w.open(t)
		if got := w.refused(t, kubelet); got != stream.CodeTooManyStreams {
			t.Errorf("refused as %s", got)
		}
	})
	t.Run("dials, at either end", func(t *testing.T) {
		few := stream.Limits{DialsPerSecond: 5}
		for _, set := range []settings{
			{gateway: func(o *stream.SessionsOptions) { o.Limits = few }},
			{agent: func(o *stream.ServerOptions) { o.Limits = few }},
		} {
			w := newWorld(t, set)
			for range 5 {
				w.open(t)
			}
			if got := w.refused(t, kubelet); got != stream.CodeTooManyDials {
				t.Errorf("refused as %s", got)
			}
			time.Sleep(300 * time.Millisecond)
			w.open(t)
		}
	})
}

// TestDialTime has a target that never answers: the agent says so before the
// gateway gives up.
func TestDialTime(t *testing.T) {
	w := newWorld(t, settings{
		gateway: func(o *stream.SessionsOptions) { o.Limits.Dial = time.Second },
		agent: func(o *stream.ServerOptions) {
			o.Limits.Dial = time.Second
			o.Dial = func(ctx context.Context, _ stream.Call) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		},
	})
	if got := w.refused(t, kubelet); got != stream.CodeDialTimeout {
		t.Errorf("refused as %s", got)
	}
	if r := w.last(t, "agent", 1); r.Code != stream.CodeDialTimeout || r.Took < 800*time.Millisecond {
		t.Errorf("record of the agent: %+v", r)
	}
}

// TestCallerGone stops the agent's dial when nobody waits for it any more.
func TestCallerGone(t *testing.T) {
	ended := make(chan struct{})
	w := newWorld(t, settings{agent: func(o *stream.ServerOptions) {
		o.Dial = func(ctx context.Context, _ stream.Call) (net.Conn, error) {
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.gateway.Open(ctx, kubelet); err == nil {
		t.Fatal("opened")
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the agent dials on")
	}
}

func TestWrongNode(t *testing.T) {
	w := newWorld(t, settings{agent: func(o *stream.ServerOptions) { o.Name = "another" }})
	if got := w.refused(t, kubelet); got != stream.CodeWrongNode {
		t.Errorf("refused as %s", got)
	}
}

// TestExpired opens no stream on a connection whose certificate has ended, and
// leaves those that are open.
func TestExpired(t *testing.T) {
	var mu sync.Mutex
	var ahead time.Duration
	w := newWorld(t, settings{gateway: func(o *stream.SessionsOptions) {
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
	}})
	c := w.open(t)
	mu.Lock()
	ahead = 2 * time.Hour
	mu.Unlock()
	if got := w.refused(t, kubelet); got != stream.CodeNoSession {
		t.Errorf("refused as %s", got)
	}
	say(t, c, "still here")
}

// TestRemoved cuts everything of a node at once.
func TestRemoved(t *testing.T) {
	changes := make(chan string, 4)
	w := newWorld(t, settings{wires: 2, gateway: func(o *stream.SessionsOptions) {
		o.Changed = func(s stream.Session, up bool, why string) {
			if !up {
				changes <- s.Node + ": " + why
			}
		}
	}})
	c := w.open(t)
	w.gateway.CloseNode(name, "the node was removed")
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "the node was removed") {
		t.Errorf("read: %v", err)
	}
	if got := <-changes; got != name+": connection lost: the node was removed" {
		t.Errorf("change: %s", got)
	}
	if w.gateway.Has(name) || len(w.gateway.List()) > 0 {
		t.Error("the session is still there")
	}
}

// TestDrain at either end takes nothing new and lets the open stream end.
func TestDrain(t *testing.T) {
	for _, end := range []string{"gateway", "agent"} {
		t.Run(end, func(t *testing.T) {
			w := newWorld(t, settings{})
			c := w.open(t)
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				if end == "gateway" {
					w.gateway.Drain(t.Context())
				} else {
					w.agent.Drain(t.Context())
				}
			}()
			time.Sleep(50 * time.Millisecond)
			if got := w.refused(t, kubelet); got != stream.CodeDraining && got != stream.CodeNoSession {
				t.Errorf("refused as %s", got)
			}
			say(t, c, "still here")
			_ = c.CloseWrite()
			_, _ = io.ReadAll(c)
			select {
			case <-drained:
			case <-time.After(5 * time.Second):
				t.Error("goes on draining")
			}
		})
	}
}

// TestRetire replaces a connection, as an agent does with a new certificate,
// without losing the stream on the old one.
func TestRetire(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.open(t)
	near, far := pair(t)
	w.connect(t.Context(), t, near, far)
	old := w.first
	retired := make(chan struct{})
	go func() {
		defer close(retired)
		w.agent.Retire(t.Context(), old)
	}()
	until(t, func() bool {
		another, err := w.gateway.Open(t.Context(), kubelet)
		if err == nil {
			_ = another.Close()
		}
		return err == nil && w.agent.Load(old) == 1
	})
	say(t, c, "still here")
	_ = c.Close()
	<-retired
	until(t, func() bool { return w.conns() == 1 })
	w.open(t)
}

// TestPlacement keeps who types off the connection of who copies.
func TestPlacement(t *testing.T) {
	w := newWorld(t, settings{wires: 2, tls: true})
	bulk := w.enter(t)
	go func() { _, _ = io.Copy(io.Discard, bulk) }()
	go func() { _, _ = io.Copy(bulk, zeros{}) }()
	busy := func() net.Conn {
		for _, c := range w.served() {
			if w.agent.Load(c) > 0 {
				return c
			}
		}
		return nil
	}
	var at net.Conn
	until(t, func() bool { at = busy(); return at != nil })
	time.Sleep(300 * time.Millisecond)
	for range 10 {
		w.open(t)
	}
	if got := w.agent.Load(at); got != 1 {
		t.Errorf("%d streams are where the bulk is", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestReconnect uses the new connection of a node whose old one is dead and not
// known to be.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, settings{alone: true, agent: pipeEcho})
		dead, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, dead) }() // takes all, says nothing
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = w.gateway.Serve(ctx, far, stream.Far{Name: name}) }()
		synctest.Wait()
		near, far := net.Pipe()
		w.connect(ctx, t, near, far)
		time.Sleep(2 * time.Second) // the old one was asked for a sign of life
		for range 5 {
			_ = w.open(t).Close()
		}
		time.Sleep(time.Minute)
		if got := w.conns(); got != 1 {
			t.Errorf("%d connections after a minute", got)
		}
		cancel()
		_, _ = near.Close(), dead.Close()
		synctest.Wait()
	})
}

// pipeEcho makes an agent that needs no socket.
func pipeEcho(o *stream.ServerOptions) {
	o.Dial = func(context.Context, stream.Call) (net.Conn, error) {
		near, far := net.Pipe()
		go func() { defer far.Close(); _, _ = io.Copy(far, far) }()
		return near, nil
	}
}

// TestTooManyConnections keeps the newest ones of a node.
func TestTooManyConnections(t *testing.T) {
	w := newWorld(t, settings{})
	for range 8 {
		near, far := pair(t)
		go func() { _ = w.agent.Serve(t.Context(), near) }()
		go func() { _ = w.gateway.Serve(t.Context(), far, stream.Far{Name: name}) }()
	}
	until(t, func() bool { return w.conns() == 4 })
	w.open(t)
}

// TestHello tells the agent whom it reached, again after that changed, and the
// gateway what the agent is.
func TestHello(t *testing.T) {
	var mu sync.Mutex
	all := []string{"a"}
	said := make(chan stream.Hello, 4)
	w := newWorld(t, settings{
		gateway: func(o *stream.SessionsOptions) {
			o.Hello = func() stream.Hello {
				mu.Lock()
				defer mu.Unlock()
				return stream.Hello{Instance: "a", Instances: slices.Clone(all), Version: "1"}
			}
		},
		agent: func(o *stream.ServerOptions) {
			o.Hello = func(_ net.Conn, h stream.Hello) stream.Answer {
				said <- h
				return stream.Answer{Node: name, Version: "2", Via: "\x1b[2Jall is well\n", Features: slices.Repeat([]string{"x\r"}, 1000)}
			}
		},
	})
	if d := cmp.Diff(stream.Hello{Instance: "a", Instances: []string{"a"}, Version: "1"}, <-said); d != "" {
		t.Errorf("hello (-want +got):\n%s", d)
	}
	until(t, func() bool { return w.gateway.List()[0].Answer.Version == "2" })
	want := stream.Answer{Node: name, Version: "2", Via: "?[2Jall is well?", Features: slices.Repeat([]string{"x?"}, 32)}
	if d := cmp.Diff(want, w.gateway.List()[0].Answer); d != "" {
		t.Errorf("what the gateway keeps of it (-want +got):\n%s", d)
	}
	mu.Lock()
	all = append(all, "b")
	mu.Unlock()
	w.gateway.Announce(t.Context())
	if d := cmp.Diff([]string{"a", "b"}, (<-said).Instances); d != "" {
		t.Errorf("instances (-want +got):\n%s", d)
	}
}

// TestPeer passes a stream from the gateway where it arrived to the one where
// the node is, and a refusal back.
func TestPeer(t *testing.T) {
	w := newWorld(t, settings{})
	passing := stream.NewServer(stream.ServerOptions{
		Now: time.Now, Allow: func(stream.Target) error { return nil },
		Dial: func(ctx context.Context, c stream.Call) (net.Conn, error) { return w.gateway.Open(ctx, c) },
	})
	peers := stream.NewSessions(stream.SessionsOptions{Now: time.Now, Allow: func(stream.Target) error { return nil }})
	near, far := pair(t)
	go func() { _ = passing.Serve(t.Context(), far) }()
	go func() { _ = peers.Serve(t.Context(), near, stream.Far{Name: "gateway-b"}) }()
	until(t, func() bool { return peers.Has("gateway-b") })
	c, err := peers.OpenAt(t.Context(), "gateway-b", kubelet)
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, "hello")
	_ = c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	_, err = peers.OpenAt(t.Context(), "gateway-b", stream.Call{Target: stream.Target{Node: "other", Port: 10250}})
	if r, ok := errors.AsType[*stream.Refusal](err); !ok || r.Code != stream.CodeNoSession {
		t.Errorf("a node that the peer does not have: %v", err)
	}
}

// TestCut lets the caller see an error, not an end, when the node's side breaks:
// half a log must not look like a whole one.
func TestCut(t *testing.T) {
	w := newWorld(t, settings{tls: true})
	near := w.enter(t)
	say(t, near, "half")
	w.cut()
	_, err := near.Read(make([]byte, 1))
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the caller reads %v", err)
	}
}

// wrapped is what an entry makes of a connection of which it has read a bit.
type wrapped struct{ stream.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// TestCutBelow reaches the socket below whatever an entry put on it.
func TestCutBelow(t *testing.T) {
	w := newWorld(t, settings{})
	near, far := pair(t)
	under := wrapped{wrapped{far.(stream.Conn)}} //nolint:forcetypeassert // it is TCP
	c := w.open(t)
	go func() { _, _, _ = stream.Splice(t.Context(), under, c, time.Now) }()
	say(t, near, "half")
	w.cut()
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the caller reads %v", err)
	}
}

// TestCallerCuts makes the agent cut the service's connection when the caller's
// breaks, though the service says nothing that could fail.
func TestCallerCuts(t *testing.T) {
	ended := make(chan error, 1)
	w := newWorld(t, settings{tls: true, serve: func(c net.Conn) {
		_, _ = c.Write([]byte("x"))
		_, err := io.Copy(io.Discard, c)
		ended <- err
	}})
	near := w.enter(t)
	_, _ = near.Read(make([]byte, 1))
	_ = near.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // it is TCP
	_ = near.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the service takes it for an end")
		}
	case <-time.After(5 * time.Second):
		t.Error("the service waits on")
	}
}
