// SPDX-License-Identifier: Apache-2.0

package h2_test

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// line is one direction of a line with a delay and a rate, in virtual time. Like
// a socket with little unsent, it takes bytes only as fast as it sends them.
type line struct {
	delay time.Duration
	rate  int64 // bytes a second

	mu      sync.Mutex
	arrived sync.Cond
	flight  []flying
	free    time.Time // when everything that was taken is sent
	closed  bool
}

type flying struct {
	at time.Time
	b  []byte
}

func newLine(delay time.Duration, rate int64) *line {
	l := &line{delay: delay, rate: rate}
	l.arrived.L = &l.mu
	return l
}

func (l *line) write(b []byte) (int, error) {
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(int64(len(b)) * int64(time.Second) / l.rate))
	sent := l.free
	l.flight = append(l.flight, flying{sent.Add(l.delay), slices.Clone(b)})
	l.mu.Unlock()
	time.AfterFunc(time.Until(sent.Add(l.delay)), l.arrived.Broadcast)
	time.Sleep(time.Until(sent))
	return len(b), nil
}

func (l *line) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.flight) == 0 || l.flight[0].at.After(time.Now()) {
		if l.closed {
			return 0, io.EOF
		}
		l.arrived.Wait()
	}
	n := copy(p, l.flight[0].b)
	if l.flight[0].b = l.flight[0].b[n:]; len(l.flight[0].b) == 0 {
		l.flight = l.flight[1:]
	}
	return n, nil
}

// lineEnd is one end of two lines.
type lineEnd struct {
	*script // addresses and deadlines
	in, out *line
}

func (e lineEnd) Read(p []byte) (int, error)  { return e.in.read(p) }
func (e lineEnd) Write(p []byte) (int, error) { return e.out.write(p) }
func (e lineEnd) Close() error {
	for _, l := range []*line{e.in, e.out} {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.arrived.Broadcast()
	}
	return nil
}

// far runs an opener and an acceptor at the ends of a line.
func far(t *testing.T, delay time.Duration, rate int64, accept func(*h2.Stream)) (opener, acceptor *end) {
	t.Helper()
	there, back := newLine(delay, rate), newLine(delay, rate)
	return run(t, lineEnd{script: &script{}, in: back, out: there}, h2.Options{}), run(t, lineEnd{script: &script{}, in: there, out: back}, h2.Options{Accept: accept})
}

var _ net.Conn = lineEnd{}

// pour writes without end.
func pour(s *h2.Stream) {
	if s.Respond(h2.Fields(":status", "200"), false) == nil {
		buf := make([]byte, h2.Room+256<<10)
		for s.WriteRoom(buf) == nil {
		}
	}
}

// TestLongLine fills a fast line with a round trip of 100 ms: 100 Mb/s with one
// stream, most of it soon.
func TestLongLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 100e6 / 8
		opener, acceptor := far(t, 50*time.Millisecond, rate, pour)
		s := open(t, opener)
		start := time.Now()
		var n int64
		second := func() int64 {
			before := n
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				m, err := s.Read(make([]byte, 64<<10))
				if err != nil {
					t.Fatal(err)
				}
				n += int64(m)
			}
			return n - before
		}
		for range 2 {
			second()
		}
		if got := second(); got < rate*9/10 {
			t.Errorf("%.1f MB in the third second, of %.1f that the line takes", float64(got)/1e6, rate/1e6)
		}
		t.Logf("%.1f MB in %s, round trip %s", float64(n)/1e6, time.Since(start), opener.Load().RTT)
		hangUp(opener, acceptor)
	})
}

// hangUp ends everything; nothing may sleep when virtual time does.
func hangUp(ends ...*end) {
	for _, e := range ends {
		e.End(io.EOF)
	}
	time.Sleep(time.Minute)
}

// TestSlowLine types beside a bulk stream on one connection over a line of
// 8 Mb/s. A keystroke waits for a frame or two, not for a window.
func TestSlowLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opener, acceptor := far(t, 5*time.Millisecond, 1e6, func(s *h2.Stream) {
			if a, _ := s.Request().Get(":authority"); a == "bulk:1" {
				pour(s)
				return
			}
			echo(s)
		})
		bulk, err := opener.Open(t.Context(), h2.Fields(":method", "CONNECT", ":authority", "bulk:1"))
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, bulk) }()
		time.Sleep(3 * time.Second)
		s := open(t, opener)
		var worst time.Duration
		for range 100 {
			start := time.Now()
			_, _ = s.Write([]byte("x"))
			if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			worst = max(worst, time.Since(start))
			time.Sleep(37 * time.Millisecond)
		}
		if worst > 60*time.Millisecond {
			t.Errorf("a keystroke took %s", worst)
		}
		t.Log(worst)
		hangUp(opener, acceptor)
	})
}

// TestBudget has far more streams that nobody reads than memory for them.
func TestBudget(t *testing.T) {
	const limit, streams = 8 << 20, 200
	near, far := net.Pipe()
	opener := run(t, near, h2.Options{Budget: h2.NewBudget(limit, streams)})
	run(t, far, h2.Options{Accept: pour})
	var all []*h2.Stream
	// The first ones are read for a while, so that their windows grow.
	for i := range streams {
		s := open(t, opener)
		all = append(all, s)
		if i < 10 {
			if _, err := io.CopyN(io.Discard, s, 8<<20); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(300 * time.Millisecond)
	var held int64
	for i, s := range all {
		held += s.Traffic().Received
		if i < 10 {
			held -= 8 << 20
		}
	}
	if held > limit {
		t.Errorf("%d bytes are held of %d", held, limit)
	}
	t.Logf("%d kB are held", held>>10)
	// What was lent comes back.
	for _, s := range all {
		_ = s.Close()
	}
	s := open(t, opener)
	if _, err := io.CopyN(io.Discard, s, 32<<20); err != nil {
		t.Error(err)
	}
}
