// SPDX-License-Identifier: Apache-2.0

package h2_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// sockets returns both ends of a TCP connection.
func sockets(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	near, _ = a.(*net.TCPConn)
	far, _ = b.(*net.TCPConn)
	return near, far
}

// TestSocketAtTheEnd: whether its reader keeps up, stands still or comes back, a
// socket at the end of a stream gets every byte once and in order; while it
// stands still, other streams do not.
func TestSocketAtTheEnd(t *testing.T) {
	streams := make(chan *h2.Stream, 2)
	opener, _ := both(t, taken(streams))
	s, other := open(t, opener), open(t, opener)
	end, echoing := <-streams, <-streams
	go func() { _, _ = io.Copy(echoing, echoing) }()
	near, far := sockets(t)
	moved := make(chan int64, 1)
	go func() {
		n, _ := end.WriteTo(near)
		_ = near.CloseWrite()
		moved <- n
	}()
	seed := [32]byte{1}
	want := make([]byte, 24<<20)
	_, _ = rand.NewChaCha8(seed).Read(want)
	wrote := make(chan error, 1)
	go func() {
		for at, n := 0, 1; at < len(want); at, n = at+n, n*3%9973+1 {
			n = min(n, len(want)-at)
			if _, err := s.Write(want[at : at+n]); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- s.CloseWrite()
	}()
	got := make([]byte, 1<<20)
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	// The reader stands still now, until nothing more comes.
	for before, still := int64(-1), 0; still < 100; {
		if now := end.Traffic().Received; now == before {
			still++
		} else {
			before, still = now, 0
		}
		back := make([]byte, 4)
		if _, err := other.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other, back); err != nil || string(back) != "ping" {
			t.Fatalf("beside a reader that stands still: %q, %v", back, err)
		}
	}
	rest, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if n := <-moved; n != int64(len(want)) {
		t.Errorf("%d bytes were moved of %d", n, len(want))
	}
	if !bytes.Equal(append(got, rest...), want) {
		t.Error("other bytes, or in another order")
	}
}

// TestSocketGone: a socket that is closed ends WriteTo with an error, although
// it was another goroutine that met it.
func TestSocketGone(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	opener, _ := both(t, taken(streams))
	s := open(t, opener)
	end := <-streams
	near, far := sockets(t)
	ended := make(chan error, 1)
	go func() {
		_, err := end.WriteTo(near)
		ended <- err
	}()
	if _, err := s.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(far, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	if _, err := s.Write([]byte("anybody?")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("a socket that is closed is no error")
	}
}
