// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Stream is one stream of a Conn, a net.Conn whose directions close alone.
// Read and Write may each be used by one goroutine at a time.
type Stream struct {
	c  *Conn
	id uint32
	// request is what opened the stream; its acceptor reads it.
	request Header

	// The rest is guarded by the lock of the connection.
	readable, writable sync.Cond
	readBy, writeBy    limit

	answer   Header // of the acceptor, for the opener
	answered bool

	in     queue
	sink   *sink // where WriteTo writes to, if that can be tried without waiting
	unread int32
	inEnd  bool  // the far end has said everything
	inErr  error // why nothing more can be read
	window int32 // what the far end may still send
	size   int32 // what window is filled up to
	lent   int32 // of size, what the Budget lent
	owed   int32 // read, and not given back as credit yet
	given  time.Time

	long   time.Time // when it last moved a long frame, see Courtesy
	credit int64     // what we may still send
	outEnd bool
	outErr error
	gone   bool // not in the connection's list any more
	why    error
	onEnd  func(error)

	traffic traffic
}

// Traffic is what a stream has moved.
type Traffic struct {
	Sent, Received int64
	// Stalled is how long either end waited for a reader.
	Stalled time.Duration
}

// traffic counts, and notices what moves much.
type traffic struct {
	Traffic
	full  time.Time // since when the far end has no credit left
	mark  time.Time
	since int64 // bytes since mark
}

// limit is a deadline.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) over(now time.Time) bool { return !l.at.IsZero() && !now.Before(l.at) }

// Request is the header that opened the stream.
func (s *Stream) Request() Header { return s.request }

// Answer is the header that the acceptor answered with, for the opener.
func (s *Stream) Answer() Header {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.answer
}

// Respond answers the request, once, before anything is written. last says that
// nothing is going to be written.
func (s *Stream) Respond(h Header, last bool) error {
	block := h.encode()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.outErr != nil {
		return s.outErr
	}
	s.answered = true
	flags := byte(flagEndHeaders)
	if last {
		flags |= flagEnd
		s.outEnd, s.outErr = true, net.ErrClosed
	}
	s.c.turn.post(func(b []byte) []byte { return appendFrame(b, kindHeaders, flags, s.id, block...) })
	s.c.settle(s)
	return nil
}

// Traffic is what the stream has moved until now.
func (s *Stream) Traffic() Traffic {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.traffic.Traffic
}

// Read returns what has come, and io.EOF after the far end closed its side.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.await(); err != nil {
		return 0, err
	}
	var n int
	for len(p) > n && s.in.first() != nil {
		c := s.in.first()
		m := copy(p[n:], c.b[c.r:])
		c.r += m
		n += m
		if c.r == len(c.b) {
			s.in.drop()
		}
	}
	s.consume(int32(n))
	return n, nil
}

// WriteTo writes everything that comes to w until the far end closed its side,
// without a buffer in between. What a socket takes without waiting, the
// connection's reading goroutine gives it by itself: see sink.
func (s *Stream) WriteTo(w io.Writer) (n int64, err error) {
	s.drain(sinkOf(w))
	defer func() { n += s.drain(nil) }()
	for {
		c, err := s.hold()
		if err != nil {
			if err == io.EOF { //nolint:errorlint // it is ours, and not wrapped
				err = nil
			}
			return n, err
		}
		m, err := w.Write(c.b[c.r:])
		n += int64(m)
		s.release(c)
		if err != nil {
			return n, err
		}
	}
}

// drain changes where the stream's bytes go at once and returns how many went
// to the sink before.
func (s *Stream) drain(to *sink) (sunk int64) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.sink != nil {
		sunk = s.sink.sunk
	}
	s.sink = to
	return sunk
}

// hold lends the first chunk to the reader.
func (s *Stream) hold() (*chunk, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.await(); err != nil {
		return nil, err
	}
	s.in.held = true
	return s.in.first(), nil
}

// release frees what hold lent.
func (s *Stream) release(c *chunk) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.in.held = false
	n := int32(len(c.b) - c.r)
	if s.in.first() != c { // the stream was cut meanwhile, its queue is gone
		c.free()
		return
	}
	s.in.drop()
	s.consume(n)
}

// await returns nil when there is something to read.
func (s *Stream) await() error {
	for s.in.first() == nil {
		switch {
		case s.inErr != nil:
			return s.inErr
		case s.inEnd:
			return io.EOF
		case s.readBy.over(s.c.o.Now()):
			return errTimeout
		}
		s.readable.Wait()
	}
	if s.readBy.over(s.c.o.Now()) {
		return errTimeout
	}
	return nil
}

// Write sends p. It returns when the connection has taken all of it.
func (s *Stream) Write(p []byte) (int, error) {
	var n int
	for n < len(p) {
		buf := newChunk(min(len(p)-n, chunkSizes[len(chunkSizes)-1]-headLen) + headLen)
		m := copy(buf.b[headLen:cap(buf.b)], p[n:])
		err := s.WriteRoom(buf.b[:headLen+m])
		buf.free()
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, s.writeState(n)
}

// writeState is the error of an empty Write.
func (s *Stream) writeState(n int) error {
	if n > 0 {
		return nil
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.outErr
}

// Room is how many bytes before the data WriteRoom needs.
const Room = headLen

// WriteRoom sends buf[Room:] and uses buf[:Room], and what is sent already, as
// it likes: so a frame is written without being copied.
func (s *Stream) WriteRoom(buf []byte) error {
	for at := headLen; at < len(buf); {
		n, err := s.take(len(buf) - at)
		if err != nil {
			return err
		}
		if wait := s.c.o.Courtesy.pause(n, s.c.o.Now()); wait > 0 {
			s.c.rest(wait)
		}
		head := buf[at-headLen : at+n]
		frame{length: n, kind: kindData, id: s.id}.put(head)
		if err := s.c.turn.write(head); err != nil {
			return s.c.reason(err)
		}
		at += n
	}
	return nil
}

// take waits for credit and takes up to n bytes of it.
func (s *Stream) take(n int) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var since time.Time
	defer func() {
		if !since.IsZero() {
			s.traffic.Stalled += c.o.Now().Sub(since)
		}
	}()
	for {
		now := c.o.Now()
		have := min(int64(n), s.credit, c.credit, int64(c.turn.quantum.Load()), int64(c.farFrame))
		switch {
		case s.outErr != nil:
			return 0, s.outErr
		case s.writeBy.over(now):
			return 0, errTimeout
		case have > 0:
			s.credit -= have
			c.credit -= have
			s.traffic.Sent += have
			c.moved(s, have, now)
			c.o.Courtesy.hear(s, int(have), now)
			return int(have), nil
		}
		if since.IsZero() {
			since = now
		}
		s.writable.Wait()
	}
}

// CloseWrite tells the far end that nothing more comes.
func (s *Stream) CloseWrite() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.closeWrite()
	return nil
}

func (s *Stream) closeWrite() {
	if s.outErr != nil {
		return
	}
	s.outEnd, s.outErr = true, net.ErrClosed
	s.writable.Broadcast()
	s.c.turn.post(func(b []byte) []byte { return appendFrame(b, kindData, flagEnd, s.id) })
	s.c.settle(s)
}

// Close closes both directions. What was written still arrives; what the far
// end goes on writing does not.
func (s *Stream) Close() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.closeWrite()
	if !s.inEnd && !s.gone {
		s.c.postReset(s.id, CodeCancel)
	}
	s.inErr = net.ErrClosed
	s.in.clear()
	s.readable.Broadcast()
	s.cut(net.ErrClosed)
	return nil
}

// Reset cuts both directions at once.
func (s *Stream) Reset(code Code) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.gone {
		return
	}
	s.c.postReset(s.id, code)
	s.cut(&ResetError{Code: code})
}

// Wait returns nil after both directions have closed in order, and the reason
// if the stream was cut before, net.ErrClosed after Close.
func (s *Stream) Wait() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for !s.gone {
		s.readable.Wait()
	}
	return s.why
}

// OnEnd calls f, in a goroutine of its own, once the stream is over: with nil
// if both directions have closed or this end called Close.
func (s *Stream) OnEnd(f func(error)) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.gone {
		go f(s.cause())
		return
	}
	s.onEnd = f
}

func (s *Stream) cause() error {
	if errors.Is(s.why, net.ErrClosed) {
		return nil
	}
	return s.why
}

// cut ends the stream with that error, with the connection's lock held.
func (s *Stream) cut(err error) {
	if !s.gone {
		s.why = err
	}
	if s.outErr == nil {
		s.outErr = err
	}
	if s.inErr == nil && !s.inEnd {
		s.inErr = err
	}
	if !s.inEnd {
		s.in.clear()
	}
	s.c.remove(s)
}

// LocalAddr is the connection's.
func (s *Stream) LocalAddr() net.Addr { return s.c.nc.LocalAddr() }

// RemoteAddr is the connection's.
func (s *Stream) RemoteAddr() net.Addr { return s.c.nc.RemoteAddr() }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (s *Stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes Read return at that time.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.setLimit(&s.readBy, &s.readable, t)
	return nil
}

// SetWriteDeadline makes Write return at that time while it waits for credit.
// A frame that is being written is finished, or the connection ends.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.setLimit(&s.writeBy, &s.writable, t)
	return nil
}

func (s *Stream) setLimit(l *limit, cond *sync.Cond, t time.Time) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.at = t
	cond.Broadcast()
	if !t.IsZero() {
		l.timer = time.AfterFunc(t.Sub(s.c.o.Now()), func() {
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			cond.Broadcast()
		})
	}
}

// timeout is the error after a deadline, equal to os.ErrDeadlineExceeded, which
// this layer can not import.
type timeout struct{}

var errTimeout error = timeout{}

func (timeout) Error() string   { return "i/o timeout" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }
func (timeout) Is(target error) bool {
	_, ok := target.(interface{ Timeout() bool })
	return ok && target.Error() == "i/o timeout"
}
