// SPDX-License-Identifier: Apache-2.0

package h2_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

var connect = h2.Fields(":method", "CONNECT", ":authority", "node:10250")

// end is one end of a connection that runs.
type end struct {
	*h2.Conn
	ended chan error
}

func run(t *testing.T, nc net.Conn, o h2.Options) *end {
	t.Helper()
	if o.Budget == nil {
		o.Budget = h2.NewBudget(64<<20, 1000)
	}
	if o.Ping == 0 {
		o.Ping = 10 * time.Second
	}
	if o.Streams == 0 {
		o.Streams = 1000
	}
	o.Now = time.Now
	e := &end{h2.New(nc, o), make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		e.ended <- e.Run(ctx)
	}()
	return e
}

// both runs an opener and an acceptor with that handler on two ends of a pipe.
func both(t *testing.T, accept func(*h2.Stream)) (opener, acceptor *end) {
	t.Helper()
	near, far := net.Pipe()
	return run(t, near, h2.Options{}), run(t, far, h2.Options{Accept: accept})
}

func open(t *testing.T, e *end) *h2.Stream {
	t.Helper()
	s, err := e.Open(t.Context(), connect)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// echo answers with what it is sent.
func echo(s *h2.Stream) {
	if s.Respond(h2.Fields(":status", "200"), false) != nil {
		return
	}
	_, _ = io.Copy(s, s)
	_ = s.CloseWrite()
}

// taken answers, and hands the stream to the test.
func taken(to chan<- *h2.Stream) func(*h2.Stream) {
	return func(s *h2.Stream) {
		_ = s.Respond(h2.Fields(":status", "200"), false)
		to <- s
	}
}

// raw is a far end that a test plays frame by frame, with the framer of
// golang.org/x/net/http2: so both were not written by the same hand.
type raw struct {
	*http2.Framer
	conn    net.Conn
	encoder *hpack.Encoder
	block   *buffer
}

type buffer struct{ b []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

// rawPair runs one end of ours over TCP, which buffers, and greets it.
func rawPair(t *testing.T, o h2.Options) (*end, *raw) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	_ = far.SetDeadline(time.Now().Add(20 * time.Second))
	r := &raw{conn: far, Framer: http2.NewFramer(far, far), block: &buffer{}}
	r.encoder = hpack.NewEncoder(r.block)
	r.SetMaxReadFrameSize(1 << 20)
	e := run(t, near, o)
	if o.Accept != nil {
		_, _ = io.WriteString(far, http2.ClientPreface)
	} else if _, err := io.ReadFull(far, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	r.must(t, r.WriteSettings())
	return e, r
}

func (r *raw) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *raw) headers(id uint32, end bool, pairs ...string) error {
	r.block.b = nil
	for _, f := range h2.Fields(pairs...) {
		_ = r.encoder.WriteField(f)
	}
	return r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block.b, EndStream: end, EndHeaders: true})
}

func (r *raw) connect(id uint32) error {
	return r.headers(id, false, ":method", "CONNECT", ":authority", "node:10250")
}

// next returns the next frame that f accepts.
func (r *raw) next(t *testing.T, f func(http2.Frame) bool) http2.Frame {
	t.Helper()
	for {
		frame, err := r.ReadFrame()
		if err != nil {
			t.Fatalf("no such frame: %v", err)
		}
		if f(frame) {
			return frame
		}
	}
}

func isA[F http2.Frame](f http2.Frame) bool {
	_, ok := f.(F)
	return ok
}
