// SPDX-License-Identifier: Apache-2.0

package h2_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// TestBreach plays far ends that break the protocol. Each loses its connection,
// with a word that says why.
func TestBreach(t *testing.T) {
	acceptor := h2.Options{Accept: func(s *h2.Stream) { _ = s.Wait() }}
	many := func(n int, f func() error) error {
		for i := 0; i < n && f() == nil; i++ { // cut before the end: the word is checked below
		}
		return nil
	}
	for _, c := range []struct {
		name string
		o    h2.Options
		do   func(*raw) error
		want string
	}{
		{"agent opens a stream", h2.Options{}, func(r *raw) error { return r.connect(2) }, "it opens streams"},
		{"agent opens a stream with an odd number", h2.Options{}, func(r *raw) error { return r.connect(7) }, "it opens streams"},
		{"agent pushes", h2.Options{}, func(r *raw) error {
			return r.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, "it pushes"},
		{"agent sends data of nothing", h2.Options{}, func(r *raw) error { return r.WriteData(1, false, []byte("x")) }, "nobody opened"},
		{"even stream", acceptor, func(r *raw) error { return r.connect(2) }, "stream number 2"},
		{"stream numbers go down", acceptor, func(r *raw) error { return errors.Join(r.connect(5), r.connect(3), r.WriteData(7, false, nil)) }, "nobody opened"},
		{"frame too large", acceptor, func(r *raw) error {
			return r.WriteRawFrame(http2.FrameHeaders, 0, 1, make([]byte, 16<<10+1))
		}, "16385 bytes"},
		{"more data than credit", acceptor, func(r *raw) error {
			_ = r.connect(1)
			return many(8, func() error { return r.WriteData(1, false, make([]byte, 16<<10)) })
		}, "more bytes than the stream's credit"},
		{"data after the end", acceptor, func(r *raw) error {
			return errors.Join(r.connect(1), r.WriteData(1, true, nil), r.WriteData(1, false, []byte("x")))
		}, "after the end"},
		{"credit of nothing", acceptor, func(r *raw) error { return r.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) }, "credit of nothing"},
		{"too much credit", acceptor, func(r *raw) error { return r.WriteWindowUpdate(0, 1<<31-1) }, "too much credit"},
		{"settings out of range", acceptor, func(r *raw) error {
			return r.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1})
		}, "frame size of 1"},
		{"headers without end", acceptor, func(r *raw) error {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 1)})
			return many(20, func() error { return r.WriteContinuation(1, false, make([]byte, 1000)) })
		}, "headers of more"},
		{"a frame between parts of a header", acceptor, func(r *raw) error {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 1)})
			return r.WritePing(false, [8]byte{})
		}, "between parts"},
		{"header that does not decode", acceptor, func(r *raw) error {
			return r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, "decoding error"},
		{"rapid reset", acceptor, func(r *raw) error {
			id := uint32(1)
			return many(20_000, func() error {
				id += 2
				return errors.Join(r.connect(id), r.WriteRSTStream(id, http2.ErrCodeCancel))
			})
		}, "flood"},
		{"flood of settings", acceptor, func(r *raw) error { return many(20_000, func() error { return r.WriteSettings() }) }, "flood"},
		{"flood of pings", acceptor, func(r *raw) error { return many(20_000, func() error { return r.WritePing(false, [8]byte{}) }) }, "flood"},
		{"flood of empty data", acceptor, func(r *raw) error {
			_ = r.connect(1)
			return many(20_000, func() error { return r.WriteData(1, false, nil) })
		}, "flood"},
		{"agent floods settings", h2.Options{}, func(r *raw) error { return many(20_000, func() error { return r.WriteSettings() }) }, "flood"},
		{"agent floods pings", h2.Options{}, func(r *raw) error { return many(20_000, func() error { return r.WritePing(false, [8]byte{}) }) }, "flood"},
		{"agent floods priorities", h2.Options{}, func(r *raw) error {
			return many(20_000, func() error { return r.WritePriority(1, http2.PriorityParam{}) })
		}, "flood"},
		{"agent resets what is not there", h2.Options{}, func(r *raw) error {
			return many(20_000, func() error { return r.WriteRSTStream(1, http2.ErrCodeCancel) })
		}, "nobody opened"},
		{"flood of priorities", acceptor, func(r *raw) error {
			return many(20_000, func() error { return r.WritePriority(1, http2.PriorityParam{}) })
		}, "flood"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, r := rawPair(t, c.o)
			go func() { _, _ = io.Copy(io.Discard, r.conn) }()
			r.must(t, c.do(r))
			select {
			case err := <-e.ended:
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("ended with %q, want %q in it", err, c.want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the connection goes on")
			}
		})
	}
}

// TestNotHTTP2 is a far end that speaks something else.
func TestNotHTTP2(t *testing.T) {
	e, r := rawPair(t, h2.Options{})
	_, _ = io.WriteString(r.conn, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 10))
	if err := <-e.ended; err == nil {
		t.Error("goes on")
	}
}

// TestMalformed refuses single streams whose headers could mean one thing to us
// and another to somebody else, and leaves the connection alone.
func TestMalformed(t *testing.T) {
	streams := make(chan *h2.Stream, 1)
	e, r := rawPair(t, h2.Options{Accept: taken(streams)})
	id := uint32(1)
	for _, h := range [][]string{
		{":method", "CONNECT", ":authority", "a:1", ":authority", "b:1"},
		{":method", "CONNECT", "magpie-node", "a", ":authority", "b:1"},
		{":method", "CONNECT", ":authority", "a:1", "Magpie-Node", "a"},
		{":method", "CONNECT", ":authority", "a:1", "magpie-node", "a\r\nmagpie-node: b"},
		{":method", "CONNECT", ":authority", "a:1", "transfer-encoding", "chunked"},
		{":method", "CONNECT", ":authority", "a:1", "connection", "upgrade"},
		{":method", "CONNECT", ":authority", "a:1", "magpie node", "a"},
		{":method", "CONNECT", ":authority", "a:1", ":strange", "a"},
	} {
		r.must(t, r.headers(id, false, h...))
		f := r.next(t, isA[*http2.RSTStreamFrame])
		if f.Header().StreamID != id {
			t.Errorf("%q: stream %d was reset, want %d", h, f.Header().StreamID, id)
		}
		id += 2
	}
	r.must(t, r.connect(id))
	select {
	case <-streams:
	case err := <-e.ended:
		t.Fatal(err)
	case <-time.After(5 * time.Second):
		t.Fatal("a good stream is not taken any more")
	}
}

// TestNeverReads is a far end that asks and does not read the answers. It costs
// a bounded sum, and its connection.
func TestNeverReads(t *testing.T) {
	e, r := rawPair(t, h2.Options{Accept: func(s *h2.Stream) {
		if s.Respond(h2.Fields(":status", "200"), false) == nil {
			_, _ = io.Copy(s, zero{})
		}
	}, Ping: 100 * time.Millisecond})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.must(t, r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}))
	for id := uint32(1); id < 400; id += 2 {
		r.must(t, r.connect(id))
	}
	r.must(t, r.WriteWindowUpdate(0, 1<<30))
	stop := time.After(10 * time.Second)
	for tick := time.Tick(50 * time.Millisecond); ; {
		select {
		case err := <-e.ended:
			t.Log(err)
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 64<<20 {
				t.Errorf("%d MiB more in use", grown>>20)
			}
			return
		case <-tick:
			_ = r.WritePing(true, [8]byte{}) // it is alive, only it does not read
		case <-stop:
			t.Fatal("the connection goes on")
		}
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzConn feeds whatever comes to both kinds of ends.
func FuzzConn(f *testing.F) {
	var seed bytes.Buffer
	r := &raw{Framer: http2.NewFramer(&seed, nil), block: &buffer{}}
	seed.WriteString(http2.ClientPreface)
	_ = r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	_ = r.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, []byte{0x42, 7, 'C', 'O', 'N', 'N', 'E', 'C', 'T', 0x41, 1, 'x'})
	_ = r.WriteDataPadded(1, false, []byte("hello"), make([]byte, 3))
	_ = r.WriteWindowUpdate(1, 7)
	_ = r.WriteContinuation(1, true, nil)
	_ = r.WriteGoAway(1, http2.ErrCodeNo, nil)
	f.Add(seed.Bytes(), true)
	f.Add(seed.Bytes()[len(http2.ClientPreface):], false)
	f.Fuzz(func(t *testing.T, input []byte, accept bool) {
		o := h2.Options{Budget: h2.NewBudget(1<<20, 10), Ping: time.Minute, Now: time.Now, Streams: 10}
		if accept {
			o.Accept = echo
		}
		c := h2.New(&script{Reader: bytes.NewReader(input)}, o)
		if !accept {
			go func() { _, _ = c.Open(t.Context(), connect) }()
		}
		if err := c.Run(t.Context()); err == nil {
			t.Error("a connection that ended has no reason")
		}
	})
}
