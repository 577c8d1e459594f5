// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net"
	"sync"
)

// turnstile lets as many handshakes compute at once as there are CPUs for it.
//
// When a gateway starts, every agent shakes hands with it in the same second.
// If all of them computed side by side, all would end late, many after their
// time was over, to begin anew; and whatever else a CPU has to do would stand
// in line behind thousands. One after the other they end steadily, and in
// between there is room. Whoever has come half-way goes first.
//
// A handshake holds a place only while it computes, never while it waits for
// the other side: so a peer that is slow on purpose holds up nobody.
type turnstile struct {
	mu      sync.Mutex
	free    int
	waiting [2][]chan struct{} // who has begun, and who has not
}

func (t *turnstile) enter(begun bool) {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return
	}
	class := 1
	if begun {
		class = 0
	}
	mine := make(chan struct{})
	t.waiting[class] = append(t.waiting[class], mine)
	t.mu.Unlock()
	<-mine
}

func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for class, w := range t.waiting {
		if len(w) > 0 {
			close(w[0])
			t.waiting[class] = w[1:]
			return
		}
	}
	t.waiting = [2][]chan struct{}{} // both are empty: keep no memory
	t.free++
}

// paced is a connection below TLS during its handshake.
type paced struct {
	net.Conn

	turnstile *turnstile
	reads     int
	inside    bool
	over      bool // the handshake
}

func (t *turnstile) pace(conn net.Conn) *paced { return &paced{Conn: conn, turnstile: t} }

// NetConn is the connection below.
func (p *paced) NetConn() net.Conn { return p.Conn }

// Read waits for the other side outside of the turnstile, and enters it with
// what came.
func (p *paced) Read(b []byte) (int, error) {
	if p.over {
		return p.Conn.Read(b)
	}
	p.leave()
	n, err := p.Conn.Read(b)
	p.turnstile.enter(p.reads > 0)
	p.inside = true
	p.reads++
	return n, err
}

// end is called after the handshake, by whoever made it.
func (p *paced) end() {
	p.leave()
	p.over = true
}

func (p *paced) leave() {
	if p.inside {
		p.inside = false
		p.turnstile.leave()
	}
}
