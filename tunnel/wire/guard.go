// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Guard stands before a server that speaks TLS and would let anybody begin
// handshakes without end. It makes them under the limits of a Door; the server
// gets connections that are through.
type Guard struct {
	TLS    *tls.Config
	Limits Handshakes
	// Seen is as that of a Door. May be nil.
	Seen func(from netip.Addr, r Result, err error)
	Now  func() time.Time
}

// Serve accepts connections from l until l is closed, and gives serve a
// listener of those whose handshake is done. It returns when serve does.
func (g *Guard) Serve(ctx context.Context, l net.Listener, serve func(context.Context, net.Listener) error) error {
	inner := &line{addr: l.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	var shaking sync.WaitGroup
	defer shaking.Wait()
	defer inner.Close()
	shaking.Go(func() {
		defer inner.Close()
		newGate(g.Limits).admit(ctx, l, g.Now, g.seen, func(p *place) {
			shaking.Go(func() { g.shake(ctx, p, inner) })
		})
	})
	err := serve(ctx, inner)
	_ = l.Close() // it is closed already, unless serve failed
	return err
}

// shake makes one handshake, and puts the connection in line.
func (g *Guard) shake(ctx context.Context, p *place, inner *line) {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	defer stop()
	h := handshake{}
	config := g.TLS.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		h.heard = true
		return nil, nil //nolint:nilnil // "go on with this one"
	}
	paced := p.gate.compute.pace(p.conn)
	h.conn = tls.Server(paced, config)
	err := h.shake(ctx, p.gate.limits.Timeout)
	paced.end()
	r := h.result(err)
	p.leave(r, g.Now())
	g.seen(p.from, r, err)
	if err != nil || !inner.put(h.conn) {
		_ = p.conn.Close()
	}
}

func (g *Guard) seen(from netip.Addr, r Result, err error) {
	if g.Seen != nil {
		g.Seen(from, r, err)
	}
}

// line is a listener of connections that somebody else has accepted.
type line struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// put waits until the connection is accepted; false when nobody will.
func (l *line) put(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.closed:
		return false
	}
}

func (l *line) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *line) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *line) Addr() net.Addr { return l.addr }
