// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Way is where a wish leads.
type Way struct {
	Target stream.Target
	// Direct is where Target is dialled without the tunnel, on a private line or
	// in the VPC. The zero value: through the tunnel.
	Direct netip.AddrPort
}

// Roads finds the way to what callers want, and opens it. All of its functions
// must be safe for concurrent use.
type Roads struct {
	// Resolve says what a wish means now: the ways to it, best first, at least
	// one. Its error is a *stream.Refusal, or the wish is refused as not allowed.
	Resolve func(Wish) ([]Way, error)
	// Allow is checked for every stream, on any way; Direct also for the address
	// that would be dialled.
	Allow       func(stream.Target) error
	AllowDirect func(netip.Addr) error
	// Here opens a stream on a session of this gateway; There on one of another
	// gateway. Both answer CodeNoSession if they have none.
	Here, There func(context.Context, stream.Call) (stream.Conn, error)
	// Dial makes a direct connection.
	Dial func(context.Context, netip.AddrPort) (stream.Conn, error)
	// Done takes all refusals, and Direct the ends of direct streams; Here and
	// There report the ends of theirs.
	Done, Direct func(stream.Record)
	Now          func() time.Time
	// Timeout bounds the opening of a stream. Zero is 10 s.
	Timeout time.Duration
}

// maxWays bounds how many endpoints of a Service are tried.
const maxWays = 3

// Open opens a stream to what w wants. Its error is always a *stream.Refusal,
// and has been reported. ctx bounds the opening only.
func (r *Roads) Open(ctx context.Context, w Wish) (stream.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Timeout, 10*time.Second))
	defer cancel()
	began := r.Now()
	call := stream.Call{Target: stream.Target{Node: w.Host, Port: w.Port}, Caller: w.Caller}
	ways, err := r.Resolve(w)
	if err == nil && len(ways) == 0 {
		err = &stream.Refusal{Code: stream.CodeNotAllowed, Text: w.String() + " leads nowhere"}
	}
	var conn stream.Conn
	for _, way := range ways[:min(len(ways), maxWays)] {
		call.Target = way.Target
		if conn, err = r.try(ctx, w, way); err == nil {
			return conn, nil
		}
		if !elsewhere(err) {
			break
		}
	}
	why := refusal(err, stream.CodeNotAllowed)
	r.Done(stream.Record{Call: call, Opened: began, Took: r.Now().Sub(began), Code: why.Code, Err: why})
	return nil, why
}

// try opens a stream on one way.
func (r *Roads) try(ctx context.Context, w Wish, way Way) (stream.Conn, error) {
	if err := r.permit(w, way); err != nil {
		return nil, err
	}
	call := stream.Call{Target: way.Target, Caller: w.Caller}
	if way.Direct.IsValid() {
		return r.direct(ctx, call, way.Direct)
	}
	conn, err := r.Here(ctx, call)
	if is(err, stream.CodeNoSession) {
		conn, err = r.There(ctx, call)
	}
	if err != nil {
		return nil, refusal(err, stream.CodeReset)
	}
	return conn, nil
}

// Refuse reports that an entry turned a caller away before it had a way.
func (r *Roads) Refuse(w Wish, code stream.Code, text string) *stream.Refusal {
	why := &stream.Refusal{Code: code, Text: text}
	call := stream.Call{Target: stream.Target{Node: w.Host, Port: w.Port}, Caller: w.Caller}
	r.Done(stream.Record{Call: call, Opened: r.Now(), Code: code, Err: why})
	return why
}

// permit checks a way against what the wish allows and the lists allow. A wish
// for a node must not become a pod that happens to have the node's name.
func (r *Roads) permit(w Wish, way Way) error {
	if t := way.Target; w.Node && (t.Addr.IsValid() || t.Node != w.Host || t.Port != w.Port) {
		return &stream.Refusal{Code: stream.CodeNotAllowed, Text: "this entry leads to nodes by their names only"}
	}
	if err := r.Allow(way.Target); err != nil {
		return err
	}
	if way.Direct.IsValid() {
		return r.AllowDirect(way.Direct.Addr())
	}
	return nil
}

func (r *Roads) direct(ctx context.Context, call stream.Call, to netip.AddrPort) (stream.Conn, error) {
	began := r.Now()
	conn, err := r.Dial(ctx, to)
	switch {
	case err == nil:
		return &counted{Conn: conn, record: stream.Record{Call: call, Opened: began}, now: r.Now, done: r.Direct}, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &stream.Refusal{Code: stream.CodeDialTimeout, Text: err.Error()}
	default:
		return nil, &stream.Refusal{Code: stream.CodeDialFailed, Text: err.Error()}
	}
}

// elsewhere reports whether another endpoint of the same Service may do what
// this one could not.
func elsewhere(err error) bool {
	return is(err, stream.CodeNoSession) || is(err, stream.CodeDialFailed) || is(err, stream.CodeTooManyStreams) || is(err, stream.CodeTooManyDials)
}

// is reports whether err is a refusal with that code.
func is(err error, code stream.Code) bool {
	why, ok := errors.AsType[*stream.Refusal](err)
	return ok && why.Code == code
}

// refusal makes one of any error.
func refusal(err error, code stream.Code) *stream.Refusal {
	if why, ok := errors.AsType[*stream.Refusal](err); ok {
		return why
	}
	return &stream.Refusal{Code: code, Text: err.Error()}
}

// counted reports a direct stream when it is closed.
type counted struct {
	stream.Conn
	record         stream.Record
	now            func() time.Time
	done           func(stream.Record)
	sent, received atomic.Int64
	broken         atomic.Bool
	once           sync.Once
}

// NetConn is the connection below, as tls.Conn has it.
func (c *counted) NetConn() net.Conn { return c.Conn }

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	c.note(err)
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	c.note(err)
	return n, err
}

func (c *counted) note(err error) {
	late, ok := errors.AsType[net.Error](err)
	if err != nil && !errors.Is(err, io.EOF) && (!ok || !late.Timeout()) {
		c.broken.Store(true)
	}
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		end := c.record
		end.Took, end.Code = c.now().Sub(end.Opened), stream.CodeDone
		end.Sent, end.Received = c.sent.Load(), c.received.Load()
		if c.broken.Load() {
			end.Code = stream.CodeReset
		}
		c.done(end)
	})
	return err
}
