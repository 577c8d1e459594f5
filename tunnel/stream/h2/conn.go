// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options say which end of a connection this is, and its bounds.
type Options struct {
	// Accept makes this end the acceptor: it is called in a goroutine of its own
	// for each stream that the far end opens. Without it, this end is the opener.
	Accept func(*Stream)
	// Streams is how many streams an acceptor takes at once.
	Streams int
	// Budget bounds what is held in memory. Required.
	Budget *Budget
	// Ping is how long a silent far end is left alone; after as long again for
	// each of three probes the connection ends. Required.
	Ping time.Duration
	// Left is told, once, that the far end is going away: it opens no more
	// streams and takes none. It must not wait. Nil: nobody.
	Left func()
	// Courtesy is shared with the other connections of the process; nil: bulk
	// streams never pause for whoever types.
	Courtesy *Courtesy
	// Now is the clock. Required.
	Now func() time.Time
}

// probes is how many may go unanswered.
const probes = 3

// Conn is one HTTP/2 connection.
type Conn struct {
	nc   net.Conn
	o    Options
	turn turn
	done chan struct{} // closed when the connection has ended

	heard     atomic.Int64 // when the last frame came, in Unix nanoseconds
	bulkUntil atomic.Int64 // see Bulk
	rtt       atomic.Int64 // smoothed, in nanoseconds
	moves     atomic.Int64 // bytes of streams, both ways

	// Of the goroutine that reads only.
	headers headerReader
	head    [headLen]byte
	flood   flood
	window  int32 // what the far end may send on the whole connection

	mu        sync.Mutex
	err       error // why the connection ended
	streams   map[uint32]*Stream
	next      uint32 // what Open uses next
	last      uint32 // the last that the far end opened
	agreed    bool   // the far end has read our settings
	leaving   bool   // we told the far end to open no more
	left      bool   // the far end told us so
	credit    int64  // what we may send on the whole connection
	farWindow int64  // a new stream's credit
	farFrame  uint32 // the largest frame the far end takes
	farMax    int    // how many streams the far end takes
	pinged    time.Time
	measured  int64 // when last for the round trip, in Unix nanoseconds
	pings     uint64
	probed    time.Time // when last because of silence
	missed    int       // probes without a sign of life since
	keepAlive *time.Timer
	settled   chan struct{} // closed when no stream is left; nil when nobody waits
}

// New begins a connection: what it says first goes out before anything that
// Open says. Run makes it work.
func New(nc net.Conn, o Options) *Conn {
	c := &Conn{
		nc: nc, o: o, done: make(chan struct{}), streams: map[uint32]*Stream{}, next: 1,
		credit: firstWindow, farWindow: firstWindow, farFrame: minFrame, farMax: 100,
		window: largeWindow,
	}
	c.turn.nc, c.turn.batch, c.turn.now, c.turn.fail = nc, batchOf(nc), o.Now, c.fail
	c.turn.quantum.Store(quantumStart)
	c.heard.Store(o.Now().UnixNano())
	c.greet()
	return c
}

// rest returns after that long, or when the connection has ended.
func (c *Conn) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.done:
	}
}

// Run reads the connection until it ends, closes it, and says why.
func (c *Conn) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	c.mu.Lock()
	c.keepAlive = time.AfterFunc(c.o.Ping, c.watch)
	c.mu.Unlock()
	err := c.read()
	if f, ok := errors.AsType[*fault](err); ok {
		c.bye(f.code)
	}
	c.fail(err)
	return c.Err()
}

// greet sends what each end says first.
func (c *Conn) greet() {
	settings := appendSetting(nil, settingWindow, uint32(c.o.Budget.start))
	settings = appendSetting(settings, settingFrame, quantumMax)
	settings = appendSetting(settings, settingHeaders, headerListLimit)
	if c.o.Accept == nil {
		settings = appendSetting(settings, settingPush, 0)
	} else {
		settings = appendSetting(settings, settingStreams, uint32(c.o.Streams))
	}
	c.turn.post(func(b []byte) []byte {
		if c.o.Accept == nil {
			b = append(b, preface...)
		}
		b = appendFrame(b, kindSettings, 0, 0, settings...)
		return appendNumber(b, kindWindow, 0, largeWindow-firstWindow)
	})
}

// bye tells the far end why its connection ends, if it still reads.
func (c *Conn) bye(code Code) {
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	_ = c.nc.SetWriteDeadline(c.o.Now().Add(100 * time.Millisecond))
	_ = c.turn.write(appendGoAway(nil, last, code))
}

func appendGoAway(b []byte, last uint32, code Code) []byte {
	payload := binary.BigEndian.AppendUint32(nil, last)
	return appendFrame(b, kindGoAway, 0, 0, binary.BigEndian.AppendUint32(payload, uint32(code))...)
}

// fail ends the connection and everything on it, once.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("connection lost: %w", err)
	if c.keepAlive != nil {
		c.keepAlive.Stop()
	}
	// A TLS connection says goodbye and waits for it as long as a writer does.
	go func() { _ = c.nc.Close() }()
	go c.turn.stop(c.err)
	for _, s := range c.streams {
		s.cut(c.err)
	}
	close(c.done)
}

// Err is why the connection ended; nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// reason turns a writer's error into that of the connection, which says more.
func (c *Conn) reason(err error) error {
	if why := c.Err(); why != nil {
		return why
	}
	return fmt.Errorf("connection lost: %w", err)
}

// ErrNotNow is the error of Open on a connection that takes no more streams:
// another one may.
var ErrNotNow = errors.New("the connection takes no more streams")

// Open opens a stream and waits for the far end's answer.
func (c *Conn) Open(ctx context.Context, request Header) (*Stream, error) {
	s, err := c.start(request)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.readable.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !s.answered {
		if s.inErr != nil {
			return nil, s.inErr // may be ErrNotNow: see ResetError
		}
		if ctx.Err() != nil {
			c.postReset(s.id, CodeCancel)
			s.cut(context.Cause(ctx))
			return nil, context.Cause(ctx)
		}
		s.readable.Wait()
	}
	return s, nil
}

// start sends a request. Requests go out in the order of their numbers, so they
// are numbered and posted under one lock.
func (c *Conn) start(request Header) (*Stream, error) {
	block := request.encode()
	if len(block) > minFrame {
		return nil, errHeader
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, c.err
	case c.left || c.leaving || c.o.Accept != nil || len(c.streams) >= c.farMax || c.next > 1<<31-1:
		return nil, ErrNotNow
	}
	s := c.add(c.next, request)
	c.next += 2
	c.turn.post(func(b []byte) []byte { return appendFrame(b, kindHeaders, flagEndHeaders, s.id, block...) })
	return s, nil
}

// add makes a stream, with the lock held.
func (c *Conn) add(id uint32, request Header) *Stream {
	now := c.o.Now()
	s := &Stream{
		c: c, id: id, request: request,
		window: c.o.Budget.start, size: c.o.Budget.start, given: now,
		credit: c.farWindow, traffic: traffic{mark: now},
	}
	if !c.agreed {
		// The far end may not have read yet that we give less than the default.
		s.window = max(s.window, firstWindow)
	}
	s.readable.L, s.writable.L = &c.mu, &c.mu
	c.streams[id] = s
	return s
}

// settle removes a stream that both ends have finished.
func (c *Conn) settle(s *Stream) {
	if s.inEnd && s.outEnd {
		c.remove(s)
	}
}

// remove forgets a stream and wakes everybody who waits for it.
func (c *Conn) remove(s *Stream) {
	s.readable.Broadcast()
	s.writable.Broadcast()
	if s.gone {
		return
	}
	s.gone = true
	s.endStall(c.o.Now())
	c.o.Budget.repay(s.lent)
	s.lent = 0
	if s.onEnd != nil {
		go s.onEnd(s.cause())
	}
	delete(c.streams, s.id)
	if len(c.streams) == 0 && c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
}

func (c *Conn) postReset(id uint32, code Code) {
	c.turn.post(func(b []byte) []byte { return appendNumber(b, kindReset, id, uint32(code)) })
}

// Leave lets no more streams begin, tells the far end so, and returns when the
// last one has ended or ctx has. It does not close the connection.
func (c *Conn) Leave(ctx context.Context) {
	c.mu.Lock()
	if !c.leaving && c.err == nil {
		c.leaving = true
		last := c.last
		c.turn.post(func(b []byte) []byte { return appendGoAway(b, last, CodeNone) })
	}
	settled := c.settled
	if len(c.streams) > 0 && settled == nil {
		settled = make(chan struct{})
		c.settled = settled
	}
	empty := len(c.streams) == 0
	c.mu.Unlock()
	if empty {
		return
	}
	select {
	case <-settled:
	case <-c.done:
	case <-ctx.Done():
	}
}

// End closes the connection for that reason.
func (c *Conn) End(why error) { c.fail(why) }

// Usable says whether new streams can begin, as far as is known.
func (c *Conn) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.left && !c.leaving && len(c.streams) < c.farMax
}
