// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"encoding/binary"
	"errors"
	"time"
)

// bulk is what one stream moves in a second when it counts as bulk. An exec or
// a log that somebody reads does not get there; a copy over 2 Mb/s does.
const (
	bulk       = 256 << 10
	bulkWithin = time.Second
	bulkLasts  = 2 * time.Second
)

// rttEvery is how often a busy connection is measured.
const rttEvery = 250 * time.Millisecond

var (
	errSilent = errors.New("the far end did not answer three probes")
	errStuck  = errors.New("the far end does not read")
)

// watch is the timer of the connection: it probes a silent far end, and gives
// up on one that is silent for long or takes nothing.
func (c *Conn) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	now := c.o.Now()
	if since := c.turn.since.Load(); since != 0 && now.UnixNano()-since >= int64((probes+1)*c.o.Ping) {
		go c.fail(errStuck)
		return
	}
	heard := time.Unix(0, c.heard.Load())
	if !heard.Before(c.probed) {
		c.missed = 0
	}
	silent := now.Sub(heard)
	next := c.o.Ping
	switch {
	case silent < c.o.Ping:
		next -= silent
	case c.missed == probes:
		go c.fail(errSilent)
		return
	default:
		c.missed++
		c.probed = now
		c.ping(now)
	}
	c.keepAlive.Reset(next)
}

// Probe asks the far end for a sign of life now. Silent is how long ago the
// last one was.
func (c *Conn) Probe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.ping(c.o.Now())
	}
}

// ping posts one, with the lock held.
func (c *Conn) ping(now time.Time) {
	c.pings++
	c.pinged = now
	data := binary.BigEndian.AppendUint64(nil, c.pings)
	c.turn.post(func(b []byte) []byte { return appendFrame(b, kindPing, 0, 0, data...) })
}

// pong measures by the answer to the last ping.
func (c *Conn) pong(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number != c.pings || c.pinged.IsZero() {
		return
	}
	took := c.o.Now().Sub(c.pinged)
	c.pinged = time.Time{}
	old := time.Duration(c.rtt.Load())
	if old == 0 {
		old = took
	}
	c.rtt.Store(int64(max(old+(took-old)/4, 1)))
}

// measure pings for the round trip if that was not done lately, with the lock
// held.
func (c *Conn) measure(now time.Time) {
	if c.pinged.IsZero() && now.UnixNano()-c.measured >= int64(rttEvery) {
		c.measured = now.UnixNano()
		c.ping(now)
	}
}

// moved counts, and notices a stream that moves much. With the lock held.
func (c *Conn) moved(s *Stream, n int64, now time.Time) {
	c.moves.Add(n)
	t := &s.traffic
	if now.Sub(t.mark) > bulkWithin {
		t.mark, t.since = now, 0
	}
	if t.since += n; t.since >= bulk {
		c.bulkUntil.Store(now.Add(bulkLasts).UnixNano())
		t.mark, t.since = now, 0
	}
}

// Load is what a connection carries now, for whoever chooses between several.
type Load struct {
	Streams int
	Full    bool          // the far end takes no more of them
	Bulk    bool          // one of the streams moves much
	Silent  time.Duration // since the last frame from the far end
	Probed  bool          // and it was asked for one
	RTT     time.Duration // smoothed; 0 while unknown
	Bytes   int64         // of streams, both ways, since the beginning
}

// Load tells what the connection carries.
func (c *Conn) Load() Load {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.o.Now()
	return Load{
		Streams: len(c.streams),
		Full:    c.o.Accept == nil && len(c.streams) >= c.farMax,
		Bulk:    now.UnixNano() < c.bulkUntil.Load(),
		Silent:  now.Sub(time.Unix(0, c.heard.Load())),
		Probed:  !c.pinged.IsZero() && now.Sub(c.pinged) > time.Second,
		RTT:     time.Duration(c.rtt.Load()),
		Bytes:   c.moves.Load(),
	}
}
