// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"encoding/binary"
	"time"
)

// quickest is the shortest round trip that the growth of windows is measured
// with: for that long an end that computes may not come to read.
const quickest = 10 * time.Millisecond

// consume counts what the reader took and gives credit for it, with the lock
// held.
func (s *Stream) consume(n int32) {
	s.unread -= n
	s.owed += n
	if s.gone || s.inEnd || s.inErr != nil {
		return
	}
	if s.owed < s.size/2 && (s.unread > 0 || s.owed < s.size/4) {
		return
	}
	now := s.c.o.Now()
	s.endStall(now)
	give := s.owed + s.grow(now)
	s.owed, s.given = 0, now
	s.window += give
	s.c.turn.post(func(b []byte) []byte { return appendNumber(b, kindWindow, s.id, uint32(give)) })
}

// grow doubles the window of a stream whose reader took half of it within two
// round trips: then it is the window that the far end waits for.
func (s *Stream) grow(now time.Time) int32 {
	s.c.measure(now)
	trip := max(time.Duration(s.c.rtt.Load()), quickest)
	if now.Sub(s.given) > 2*trip || s.size >= largestWindow || !s.c.o.Budget.borrow(s.size) {
		return 0
	}
	more := s.size
	s.size += more
	s.lent += more
	return more
}

// endStall counts the time for which the far end had no credit.
func (s *Stream) endStall(now time.Time) {
	if !s.traffic.full.IsZero() {
		s.traffic.Stalled += now.Sub(s.traffic.full)
		s.traffic.full = time.Time{}
	}
}

func (c *Conn) onWindow(f frame, p []byte) error {
	if len(p) != 4 {
		return breach(CodeSize, "WINDOW_UPDATE of %d bytes", len(p))
	}
	more := int64(binary.BigEndian.Uint32(p) & largeWindow)
	if more == 0 {
		return breach(CodeProtocol, "credit of nothing")
	}
	if f.id == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		starved := c.credit <= 0
		if c.credit += more; c.credit > largeWindow {
			return breach(CodeFlow, "too much credit")
		}
		if starved {
			for _, s := range c.streams {
				s.writable.Signal()
			}
		}
		return nil
	}
	s, err := c.find(f.id)
	if err != nil || s == nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.credit += more; s.credit > largeWindow {
		return breach(CodeFlow, "too much credit")
	}
	s.writable.Signal()
	return nil
}

func (c *Conn) onSettings(f frame, p []byte) error {
	if f.id != 0 || len(p)%settingLen != 0 || f.has(flagAck) && len(p) > 0 {
		return breach(CodeSize, "SETTINGS of %d bytes", len(p))
	}
	if err := c.idleWork(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) {
		c.agreed = true
		return nil
	}
	for ; len(p) > 0; p = p[settingLen:] {
		if err := c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.turn.post(func(b []byte) []byte { return appendFrame(b, kindSettings, flagAck, 0) })
	return nil
}

// set applies one setting of the far end, with the lock held.
func (c *Conn) set(id uint16, value uint32) error {
	switch id {
	case settingWindow:
		if value > largeWindow {
			return breach(CodeFlow, "an initial window of %d", value)
		}
		change := int64(value) - c.farWindow
		c.farWindow = int64(value)
		for _, s := range c.streams {
			if s.credit += change; s.credit > largeWindow {
				return breach(CodeFlow, "too much credit")
			}
			s.writable.Signal()
		}
	case settingFrame:
		if value < minFrame || value > maxFrame {
			return breach(CodeProtocol, "a frame size of %d", value)
		}
		c.farFrame = value
	case settingStreams:
		c.farMax = int(min(value, 1<<20))
	}
	return nil
}

func (c *Conn) onHeaders(f frame, p []byte) error {
	if f.id == 0 {
		return breach(CodeProtocol, "headers of no stream")
	}
	if f.has(flagPadded) {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return breach(CodeProtocol, "more padding than frame")
		}
		p = p[1 : len(p)-int(p[0])]
	}
	if f.has(flagPriority) {
		if len(p) < priorityLen {
			return breach(CodeSize, "headers too short")
		}
		p = p[priorityLen:]
	}
	c.headers.end = f.has(flagEnd)
	return c.fragment(f, p)
}

func (c *Conn) onContinuation(f frame, p []byte) error {
	if c.headers.id == 0 {
		return breach(CodeProtocol, "the continuation of nothing")
	}
	if len(p) == 0 {
		if err := c.idleWork(); err != nil {
			return err
		}
	}
	return c.fragment(f, p)
}

// fragment takes one part of a header and, after the last, handles the header.
func (c *Conn) fragment(f frame, p []byte) error {
	c.headers.id = f.id
	if err := c.headers.add(p); err != nil || !f.has(flagEndHeaders) {
		return err
	}
	h, bad, err := c.headers.decode()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.id]
	switch {
	case s == nil && !c.known(f.id):
		return c.incoming(f.id, h, bad)
	case s == nil:
		return nil
	case bad != nil:
		c.postReset(s.id, CodeProtocol)
		s.cut(bad)
	case c.o.Accept == nil && !s.answered:
		c.answered(s, h)
	case !c.headers.end || s.inEnd: // a second header is trailers, and those end it
		return breach(CodeProtocol, "headers in the middle of a stream")
	}
	if c.headers.end && !s.gone {
		c.finishIn(s)
	}
	return nil
}

// answered gives the opener its answer; 1xx is not one yet.
func (c *Conn) answered(s *Stream, h Header) {
	status, ok := h.Get(":status")
	if !ok || len(status) != 3 {
		c.postReset(s.id, CodeProtocol)
		s.cut(errHeader)
		return
	}
	if status[0] == '1' {
		return
	}
	s.answer, s.answered = h, true
	s.readable.Broadcast()
}

// incoming begins a stream that the far end opens.
func (c *Conn) incoming(id uint32, h Header, bad error) error {
	if c.o.Accept == nil {
		return breach(CodeProtocol, "it opens streams")
	}
	if id%2 == 0 || id <= c.last {
		return breach(CodeProtocol, "stream number %d after %d", id, c.last)
	}
	c.last = id
	switch {
	case bad != nil:
		c.postReset(id, CodeProtocol)
		return c.idleWork()
	case c.leaving, len(c.streams) >= c.o.Streams:
		c.postReset(id, CodeRefused)
		return c.idleWork()
	}
	s := c.add(id, h)
	if c.headers.end {
		s.inEnd = true
	}
	go c.o.Accept(s)
	return nil
}
