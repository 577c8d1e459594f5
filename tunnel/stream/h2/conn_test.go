// SPDX-License-Identifier: Apache-2.0

package h2_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// TestManyStreams moves different bytes on many streams at once, in pieces of
// any size, and compares.
func TestManyStreams(t *testing.T) {
	opener, _ := both(t, echo)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			s, err := opener.Open(t.Context(), connect)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			sent := make([]byte, r.IntN(2<<20))
			_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(sent)
			go func() {
				for p := sent; len(p) > 0; {
					n := min(len(p), 1+r.IntN(300<<10)>>r.IntN(19))
					if _, err := s.Write(p[:n]); err != nil {
						t.Error(err)
						return
					}
					p = p[n:]
				}
				_ = s.CloseWrite()
			}()
			got, err := io.ReadAll(s)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(sent) {
				t.Errorf("stream %d: %d bytes of %d, %v", i, len(got), len(sent), err)
			}
		})
	}
	all.Wait()
}

// TestHalfClose goes on reading after it said everything, and the other way
// round.
func TestHalfClose(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	opener, _ := both(t, taken(streams))
	near := open(t, opener)
	far := <-streams
	_ = near.CloseWrite()
	if b, err := io.ReadAll(far); err != nil || len(b) > 0 {
		t.Fatalf("far end read %q, %v", b, err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	_, _ = io.WriteString(far, "late")
	_ = far.CloseWrite()
	if b, err := io.ReadAll(near); err != nil || string(b) != "late" {
		t.Errorf("near end read %q, %v", b, err)
	}
	for _, s := range []*h2.Stream{near, far} {
		if err := s.Wait(); err != nil {
			t.Errorf("ended with %v", err)
		}
	}
}

// TestClose lets what was written arrive, and stops what the far end writes.
func TestClose(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	opener, _ := both(t, taken(streams))
	near := open(t, opener)
	far := <-streams
	_, _ = io.WriteString(near, "last words")
	_ = near.Close()
	if b, err := io.ReadAll(far); err != nil || string(b) != "last words" {
		t.Errorf("far end read %q, %v", b, err)
	}
	if err := far.Wait(); err == nil {
		t.Error("the far end does not know that nobody reads")
	}
	if _, err := far.Write([]byte("x")); err == nil {
		t.Error("the far end writes on")
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

// TestReset is seen by the far end as an error and not as an end.
func TestReset(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	opener, _ := both(t, taken(streams))
	near := open(t, opener)
	near.Reset(h2.CodeCancel)
	_, err := io.ReadAll(<-streams)
	if r, ok := errors.AsType[*h2.ResetError](err); !ok || !r.Far || r.Code != h2.CodeCancel {
		t.Errorf("far end read %v", err)
	}
}

// TestDeadlines holds both directions to them, in virtual time.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := make(chan *h2.Stream, 1)
		opener, _ := both(t, taken(streams))
		s := open(t, opener)
		start := time.Now()
		_ = s.SetReadDeadline(start.Add(3 * time.Second))
		_, err := s.Read(make([]byte, 1))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 3*time.Second {
			t.Errorf("read after %s: %v", took, err)
		}
		_ = s.SetWriteDeadline(start.Add(5 * time.Second))
		_, err = io.Copy(s, zero{}) // nobody reads
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 5*time.Second {
			t.Errorf("write after %s: %v", took, err)
		}
		_ = s.SetDeadline(time.Time{})
		far := <-streams
		_, _ = io.WriteString(far, "x")
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Errorf("read without a deadline: %v", err)
		}
	})
}

// TestStuck has one reader that never reads, while others move as before.
func TestStuck(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	opener, acceptor := both(t, func(s *h2.Stream) {
		if b, _ := s.Request().Get(":authority"); b == "stuck:1" {
			taken(streams)(s)
			return
		}
		echo(s)
	})
	stuck, err := opener.Open(t.Context(), h2.Fields(":method", "CONNECT", ":authority", "stuck:1"))
	if err != nil {
		t.Fatal(err)
	}
	_ = stuck.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := io.Copy(stuck, zero{})
	if !errors.Is(err, os.ErrDeadlineExceeded) || n > 1<<20 {
		t.Errorf("%d bytes went to a reader that does not read, %v", n, err)
	}
	s := open(t, opener)
	sent := make([]byte, 8<<20)
	go func() { _, _ = s.Write(sent); _ = s.CloseWrite() }()
	if got, err := io.ReadAll(s); err != nil || len(got) != len(sent) {
		t.Errorf("%d bytes of %d came back, %v", len(got), len(sent), err)
	}
	if got := stuck.Traffic().Stalled; got < 200*time.Millisecond {
		t.Errorf("the writer says it was stalled for %s", got)
	}
	_ = (<-streams).Close()
	if got := acceptor.Load().Streams; got > 1 {
		t.Errorf("%d streams are left", got)
	}
}

// TestSilence finds a far end that has gone without a word.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }() // takes all, says nothing
		start := time.Now()
		e := run(t, near, h2.Options{})
		err := <-e.ended
		if took := time.Since(start); took != 40*time.Second {
			t.Errorf("found after %s: %v", took, err)
		}
		_ = far.Close()
	})
}

// TestIdle keeps a connection on which nothing happens, and with it a stream.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opener, _ := both(t, echo)
		s := open(t, opener)
		time.Sleep(24 * time.Hour)
		if _, err := io.WriteString(s, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if got := opener.Load().RTT; got <= 0 {
			t.Errorf("round trip of %s", got)
		}
	})
}

// TestLeave takes no more streams and waits for the last one.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opener, acceptor := both(t, echo)
		s := open(t, opener)
		left := make(chan struct{})
		go func() {
			acceptor.Leave(t.Context())
			close(left)
		}()
		synctest.Wait()
		if _, err := opener.Open(t.Context(), connect); !errors.Is(err, h2.ErrNotNow) {
			t.Errorf("open on a connection that is left: %v", err)
		}
		select {
		case <-left:
			t.Error("did not wait for the stream")
		default:
		}
		_, _ = io.WriteString(s, "x")
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Errorf("the open stream: %v", err)
		}
		_ = s.CloseWrite()
		_, _ = io.ReadAll(s)
		<-left
	})
}

// TestRefused opens more than the far end takes.
func TestRefused(t *testing.T) {
	near, far := net.Pipe()
	opener := run(t, near, h2.Options{})
	run(t, far, h2.Options{Accept: echo, Streams: 2})
	open(t, opener)
	open(t, opener)
	if _, err := opener.Open(t.Context(), connect); !errors.Is(err, h2.ErrNotNow) {
		t.Errorf("a third stream: %v", err)
	}
}

// TestGiveUp does not wait for an answer longer than its context.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		opener, _ := both(t, func(s *h2.Stream) { ended <- s.Wait() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := opener.Open(ctx, connect); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("the far end was not told")
		}
	})
}

// TestLoss ends every stream with the reason, at both ends.
func TestLoss(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	opener, acceptor := both(t, taken(streams))
	near, why := open(t, opener), errors.New("the node was removed")
	opener.End(why)
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, why) {
		t.Errorf("near end: %v", err)
	}
	if _, err := near.Write(make([]byte, 1)); !errors.Is(err, why) {
		t.Errorf("near end: %v", err)
	}
	if _, err := io.ReadAll(<-streams); err == nil {
		t.Error("the far end takes it for an end")
	}
	if err := <-acceptor.ended; err == nil {
		t.Error("the far end's connection has no reason")
	}
}

// TestBulk tells a stream that moves much from one that does not.
func TestBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opener, _ := both(t, echo)
		s := open(t, opener)
		for range 10 {
			_, _ = s.Write(make([]byte, 1000))
			_, _ = io.ReadFull(s, make([]byte, 1000))
			time.Sleep(time.Second)
		}
		if opener.Load().Bulk {
			t.Error("1 kB a second counts as bulk")
		}
		go func() { _, _ = s.Write(make([]byte, 1<<20)) }()
		_, _ = io.ReadFull(s, make([]byte, 1<<20))
		if !opener.Load().Bulk {
			t.Error("1 MiB at once does not")
		}
		time.Sleep(5 * time.Second)
		if opener.Load().Bulk {
			t.Error("counts as bulk for ever")
		}
	})
}

// TestPadding gives padding back as credit.
func TestPadding(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	_, r := rawPair(t, h2.Options{Accept: taken(streams)})
	r.must(t, r.connect(1))
	s := <-streams
	go func() { _, _ = io.Copy(io.Discard, r.conn) }()
	want := bytes.Repeat([]byte("x"), 1000)
	go func() {
		for range want {
			_ = r.WriteDataPadded(1, false, []byte("x"), make([]byte, 100))
			time.Sleep(10 * time.Microsecond)
		}
		_ = r.WriteData(1, true, nil)
	}()
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

// TestUnknown ignores what RFC 9113 says to ignore.
func TestUnknown(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	_, r := rawPair(t, h2.Options{Accept: taken(streams)})
	r.must(t, r.WriteRawFrame(http2.FrameType(0xee), 0xff, 9, []byte("what?")))
	r.must(t, r.WriteSettings(http2.Setting{ID: 0x77, Val: 1}))
	r.must(t, r.headers(1, true, ":method", "CONNECT", ":authority", "a:1"))
	if b, err := io.ReadAll(<-streams); err != nil || len(b) > 0 {
		t.Errorf("read %q, %v", b, err)
	}
}
