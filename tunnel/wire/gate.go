// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// Handshakes bound what strangers cost. The zero value of a field means its
// default.
//
// An agent whose site has one address shares its source with all its
// neighbours, and behind some load balancers all agents share one. So success
// is never limited; limits bind whoever fails: who leaves handshakes open or
// shows no good certificate.
type Handshakes struct {
	// Timeout of one handshake. Default 10 s: two losses on a slow line.
	Timeout time.Duration
	// Total is how many connections may be in their handshake, PerSource how
	// many of them from one source. When they are that many the oldest makes
	// room, unless it is younger than two seconds. Defaults 8192 and 4096.
	Total, PerSource int
	// Failures a source may have at once, and regains a second. Defaults 200, 5.
	Failures, PerSecond int
}

const (
	// grace is how long a handshake takes that makes progress on a bad line: one
	// that is younger is not given up for another.
	grace = 2 * time.Second
	// maxSources bounds the memory for sources that failed.
	maxSources = 1 << 16
)

// gate counts the connections that have not yet proved who they are.
type gate struct {
	limits  Handshakes
	compute turnstile

	mu      sync.Mutex
	sources map[netip.Addr]*origin
	inside  *list.List // of *place, the oldest first
}

// origin is what one source has at the gate.
type origin struct {
	inside *list.List // of *place, the oldest first
	// credit is how many failures are left, as of at.
	credit float64
	at     time.Time
}

// place is one connection at the gate.
type place struct {
	gate   *gate
	from   netip.Addr
	origin *origin
	conn   net.Conn
	since  time.Time
	// all and own are where it stands in the lists of the gate and of its
	// origin; nil once it had to make room.
	all, own *list.Element
}

func newGate(l Handshakes) *gate {
	l.Timeout = cmp.Or(l.Timeout, 10*time.Second)
	l.Total = cmp.Or(l.Total, 8192)
	l.PerSource = cmp.Or(l.PerSource, 4096)
	l.Failures = cmp.Or(l.Failures, 200)
	l.PerSecond = cmp.Or(l.PerSecond, 5)
	return &gate{
		limits: l, compute: turnstile{free: max(1, runtime.GOMAXPROCS(0)-spare)},
		sources: map[netip.Addr]*origin{}, inside: list.New(),
	}
}

// admit accepts connections from l until it is closed, and hands on those that
// get a place, which whoever takes it must leave.
func (g *gate) admit(ctx context.Context, l net.Listener, now func() time.Time, seen func(netip.Addr, Result, error), take func(*place)) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of files, most likely: whoever is in must get on
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		from := sourceOf(conn.RemoteAddr())
		p, r := g.enter(from, conn, now())
		if r != ResultOK {
			seen(from, r, errTurnedAway)
			_ = conn.Close()
			continue
		}
		take(p)
	}
}

var errTurnedAway = errors.New("turned away before the handshake")

// enter admits a connection, ResultOK, or says why not.
func (g *gate) enter(from netip.Addr, conn net.Conn, now time.Time) (*place, Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.origin(from, now)
	switch {
	case o.credit < 1:
		return nil, ResultBanned
	case o.inside.Len() >= g.limits.PerSource && !makeRoom(o.inside, now):
		return nil, ResultBusy
	case g.inside.Len() >= g.limits.Total && !makeRoom(g.inside, now):
		return nil, ResultBusy
	}
	p := &place{gate: g, from: from, origin: o, conn: conn, since: now}
	p.all, p.own = g.inside.PushBack(p), o.inside.PushBack(p)
	return p, ResultOK
}

// origin returns the state of a source, with the credit it has regained.
func (g *gate) origin(from netip.Addr, now time.Time) *origin {
	o := g.sources[from]
	if o == nil {
		if len(g.sources) >= maxSources {
			g.forget()
		}
		o = &origin{inside: list.New(), credit: float64(g.limits.Failures), at: now}
		g.sources[from] = o
	}
	o.credit = min(float64(g.limits.Failures), o.credit+now.Sub(o.at).Seconds()*float64(g.limits.PerSecond))
	o.at = now
	return o
}

// forget drops every source that has nothing inside: an attacker with that many
// sources is not held back by failures of one.
func (g *gate) forget() {
	for from, o := range g.sources {
		if o.inside.Len() == 0 {
			delete(g.sources, from)
		}
	}
}

// makeRoom gives the oldest connection of a list up: its handshake ends, and is
// a failure of its source.
func makeRoom(inside *list.List, now time.Time) bool {
	oldest, ok := inside.Front().Value.(*place)
	if !ok || now.Sub(oldest.since) < grace {
		return false
	}
	oldest.out()
	_ = oldest.conn.Close()
	return true
}

// out takes the place out of both lists, once.
func (p *place) out() {
	if p.all != nil {
		p.gate.inside.Remove(p.all)
		p.origin.inside.Remove(p.own)
		p.all, p.own = nil, nil
	}
}

// leave gives the place back; what failed costs the source.
func (p *place) leave(r Result, now time.Time) {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	p.out()
	o := g.origin(p.from, now)
	switch r {
	case ResultTimeout, ResultProtocol, ResultCertificate:
		o.credit = max(0, o.credit-1)
	case ResultOK, ResultSilent, ResultBusy, ResultBanned:
	}
	if o.inside.Len() == 0 && o.credit >= float64(g.limits.Failures) {
		delete(g.sources, p.from)
	}
}
