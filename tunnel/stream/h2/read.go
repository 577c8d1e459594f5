// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// flood counts frames that cost us and bring nothing.
type flood struct {
	since time.Time
	n     int
}

// floodLimit is how many of them may come in ten seconds: resets of streams that
// were not answered yet, settings, pings, empty frames; more where more streams
// are allowed. CVE-2023-44487 and CVE-2019-9512 and following.
const (
	floodLimit  = 5000
	floodWithin = 10 * time.Second
)

func (c *Conn) idleWork() error {
	now := c.o.Now()
	if now.Sub(c.flood.since) > floodWithin {
		c.flood = flood{since: now}
	}
	if c.flood.n++; c.flood.n > max(floodLimit, c.o.Streams) {
		return breach(CodeCalm, "a flood of frames that mean nothing")
	}
	return nil
}

// read reads frames until the connection fails.
func (c *Conn) read() error {
	if c.o.Accept != nil {
		var first [len(preface)]byte
		if _, err := io.ReadFull(c.nc, first[:]); err != nil {
			return fmt.Errorf("read preface: %w", err)
		}
		if string(first[:]) != preface {
			return breach(CodeProtocol, "not HTTP/2")
		}
	}
	for first := true; ; first = false {
		if _, err := io.ReadFull(c.nc, c.head[:]); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		c.heard.Store(c.o.Now().UnixNano())
		f := parseFrame(&c.head)
		if err := c.admit(f, first); err != nil {
			return err
		}
		if f.kind == kindData {
			if err := c.onData(f); err != nil {
				return err
			}
			continue
		}
		payload := make([]byte, f.length)
		if _, err := io.ReadFull(c.nc, payload); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if err := c.on(f, payload); err != nil {
			return err
		}
	}
}

// admit judges a frame by its head alone, before anything is read for it.
func (c *Conn) admit(f frame, first bool) error {
	switch {
	case first && (f.kind != kindSettings || f.has(flagAck)):
		return breach(CodeProtocol, "the first frame is not SETTINGS")
	case f.kind == kindData && f.length > quantumMax, f.kind != kindData && f.length > minFrame:
		return breach(CodeSize, "a frame of kind %d with %d bytes", f.kind, f.length)
	case c.headers.id != 0 && (f.kind != kindContinuation || f.id != c.headers.id):
		return breach(CodeProtocol, "a frame between parts of a header")
	}
	return nil
}

// on handles every frame but DATA.
func (c *Conn) on(f frame, p []byte) error {
	switch f.kind {
	case kindHeaders:
		return c.onHeaders(f, p)
	case kindContinuation:
		return c.onContinuation(f, p)
	case kindSettings:
		return c.onSettings(f, p)
	case kindWindow:
		return c.onWindow(f, p)
	case kindReset:
		return c.onReset(f, p)
	case kindPing:
		return c.onPing(f, p)
	case kindGoAway:
		return c.onGoAway(f, p)
	case kindPush:
		return breach(CodeProtocol, "it pushes")
	default: // PRIORITY, and what RFC 9113 section 5.5 says to ignore
		return c.idleWork()
	}
}

// known reports whether the far end may still send frames of a stream that we
// have no more: one that existed.
func (c *Conn) known(id uint32) bool {
	if c.o.Accept != nil {
		return id%2 == 1 && id <= c.last
	}
	return id%2 == 1 && id < c.next
}

// find returns the stream, or nil if it is over.
func (c *Conn) find(id uint32) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[id]; s != nil {
		return s, nil
	}
	if !c.known(id) {
		return nil, breach(CodeProtocol, "a frame of stream %d, which nobody opened", id)
	}
	return nil, nil
}

func (c *Conn) onData(f frame) error {
	s, err := c.find(f.id)
	if err != nil {
		return err
	}
	length, pad := f.length, 0
	if f.has(flagPadded) {
		var b [1]byte
		if _, err := io.ReadFull(c.nc, b[:]); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if pad = int(b[0]); pad >= length {
			return breach(CodeProtocol, "more padding than frame")
		}
		length -= pad + 1
	}
	if length == 0 && !f.has(flagEnd) {
		if err := c.idleWork(); err != nil {
			return err
		}
	}
	if err := c.charge(s, f.length); err != nil {
		return err
	}
	if s != nil && length > 0 {
		err = c.receive(s, length)
	} else {
		_, err = io.CopyN(io.Discard, c.nc, int64(length))
	}
	if err == nil && pad > 0 {
		_, err = io.CopyN(io.Discard, c.nc, int64(pad))
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if s == nil {
		return nil
	}
	return c.received(s, f, f.length-length)
}

// charge takes a frame from the credit that the far end has.
func (c *Conn) charge(s *Stream, n int) error {
	if c.window -= int32(n); c.window < 0 {
		return breach(CodeFlow, "more bytes than the connection's credit")
	}
	if c.window < largeWindow/2 {
		more := uint32(largeWindow - c.window)
		c.window = largeWindow
		c.turn.post(func(b []byte) []byte { return appendNumber(b, kindWindow, 0, more) })
	}
	if s == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.inEnd {
		return breach(CodeClosed, "data after the end of a stream")
	}
	if s.window -= int32(n); s.window < 0 {
		return breach(CodeFlow, "more bytes than the stream's credit")
	}
	c.o.Courtesy.hear(s, n, c.o.Now())
	return nil
}

// receive reads a frame's bytes and gives them to the stream piece by piece.
func (c *Conn) receive(s *Stream, length int) error {
	for length > 0 {
		piece := newChunk(length)
		n := min(length, cap(piece.b))
		piece.b = piece.b[:n]
		if _, err := io.ReadFull(c.nc, piece.b); err != nil {
			return err
		}
		length -= n
		c.deliver(s, piece)
	}
	return nil
}

func (c *Conn) deliver(s *Stream, piece *chunk) {
	n := int32(len(piece.b))
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.o.Now()
	if s.gone || s.inErr != nil {
		piece.free()
		return
	}
	s.unread += n
	s.traffic.Received += int64(n)
	if s.sink != nil && s.in.first() == nil && s.sunk(piece) {
		c.moved(s, int64(n), now)
		return
	}
	if s.gone || s.inErr != nil { // while the sink was tried
		piece.free()
		return
	}
	s.in.add(piece)
	c.moved(s, int64(n), now)
	if s.window < s.size/4 && s.unread >= s.size/2 && s.traffic.full.IsZero() {
		s.traffic.full = now
	}
	s.readable.Signal()
}

// received ends the handling of a DATA frame, of which waste bytes were no data.
func (c *Conn) received(s *Stream, f frame, waste int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waste > 0 {
		s.unread += int32(waste)
		s.consume(int32(waste))
	}
	if f.has(flagEnd) {
		c.finishIn(s)
	}
	return nil
}

// finishIn notes that the far end has said everything.
func (c *Conn) finishIn(s *Stream) {
	s.inEnd = true
	s.readable.Broadcast()
	c.settle(s)
}

func (c *Conn) onReset(f frame, p []byte) error {
	if len(p) != 4 {
		return breach(CodeSize, "RST_STREAM of %d bytes", len(p))
	}
	s, err := c.find(f.id)
	if err != nil || s == nil {
		return err
	}
	c.mu.Lock()
	early := !s.answered
	s.cut(&ResetError{Code: Code(binary.BigEndian.Uint32(p)), Far: true})
	c.mu.Unlock()
	if early { // a stream that was answered may end so, many times a second
		return c.idleWork()
	}
	return nil
}

func (c *Conn) onPing(f frame, p []byte) error {
	if len(p) != pingLen || f.id != 0 {
		return breach(CodeSize, "PING of %d bytes", len(p))
	}
	if f.has(flagAck) {
		c.pong(binary.BigEndian.Uint64(p))
		return nil
	}
	c.turn.post(func(b []byte) []byte { return appendFrame(b, kindPing, flagAck, 0, p...) })
	return c.idleWork()
}

func (c *Conn) onGoAway(f frame, p []byte) error {
	if len(p) < goAwayMinLen || f.id != 0 {
		return breach(CodeSize, "GOAWAY of %d bytes", len(p))
	}
	last := binary.BigEndian.Uint32(p) & (1<<31 - 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Left != nil && !c.left {
		c.o.Left()
	}
	c.left = true
	for id, s := range c.streams {
		if c.o.Accept == nil && id > last {
			s.cut(ErrNotNow)
		}
	}
	return nil
}

var _ net.Conn = (*Stream)(nil)
