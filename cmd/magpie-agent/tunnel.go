// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/version"
	"github.com/magpie-edge/magpie/tunnel/dial"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// certificates is what the tunnel needs of cluster.Certificates.
type certificates interface {
	GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	Roots() *x509.CertPool
	Who() (identity.Who, bool)
	Trouble() error
	Changed() <-chan struct{}
	Now() time.Time
	ClockOff() time.Duration
}

// omTunnel is the node's end of the O&M tunnel: it keeps a session with every
// gateway instance and serves what they ask for. dial.Dialler decides, this
// does.
type omTunnel struct {
	config TunnelConfig
	node   string
	log    *slog.Logger
	view   func() (fleet.View, error)
	// views and relayViews receive when the View may have changed.
	views, relayViews <-chan struct{}
	certs             certificates
	wire              *wire.Dialler
	conditions        *conditions
	metrics           *tunnelMetrics

	server *stream.Server
	relay  *wire.Relay
	events chan dial.Event
	busy   chan struct{}
	done   chan struct{} // closed when nobody reads events any more
	work   sync.WaitGroup

	// Of run's goroutine.
	machine   *dial.Dialler
	shown     *tls.Certificate // with which the machine was last told to dial
	addresses []string
	relays    []string
	loads     map[int]int

	mu       sync.Mutex
	sessions []dial.Session
	conns    map[int]*tunnelConn
	ids      map[net.Conn]int
}

// tunnelConn is one dial and the connection that came of it.
type tunnelConn struct {
	cancel  context.CancelFunc
	via     string   // the neighbour that relays
	conn    net.Conn // nil while dialling
	greeted bool
}

// newTunnel makes the tunnel of one node; run starts it. d needs no more than a
// name to verify, a proxy and a limit.
func newTunnel(t *omTunnel, d wire.Dialler) *omTunnel {
	d.Certificate, d.Roots, d.Now = t.certs.GetClientCertificate, t.certs.Roots, t.certs.Now
	t.wire = &d
	t.metrics = newTunnelMetrics(t)
	t.events, t.busy, t.done = make(chan dial.Event, 64), make(chan struct{}, 1), make(chan struct{})
	t.conns, t.ids, t.loads = map[int]*tunnelConn{}, map[net.Conn]int{}, map[int]int{}
	t.relay = &wire.Relay{Neighbour: t.isNeighbour, Published: t.isPublished, Reach: d.Reach, Seen: t.relayed}
	t.machine = dial.New(rand.Float64)
	t.server = stream.NewServer(stream.ServerOptions{
		Name: t.node, Dial: t.reach, Allow: t.allow, Limits: t.config.limits(),
		Done: t.ended, OnBusy: t.ring, Left: t.left, Hello: t.greeted, Now: now,
	})
	return t
}

// watchLoads is how often the streams of each connection are counted while
// there are any.
const watchLoads = 5 * time.Second

// run keeps the sessions until ctx ends; then streams that are open have
// config.DrainSeconds to end.
func (t *omTunnel) run(ctx context.Context) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		t.stop(base)
		cut()
		close(t.done)
		t.work.Wait()
	}()
	changed := t.certs.Changed()
	t.renewed(base)
	t.follow(base)
	timer := time.NewTimer(0)
	defer timer.Stop()
	tick := time.NewTicker(watchLoads)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err() // drains, see above
		case <-changed:
			t.renewed(base)
		case <-t.views:
			t.follow(base)
		case e := <-t.events:
			t.step(base, e)
		case <-t.busy:
			t.count(base)
		case <-tick.C:
			t.count(base)
			t.judge()
		case <-timer.C:
			t.step(base, dial.Tick{})
		}
		if next := t.machine.Next(); !next.IsZero() {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
	}
}

// stop drains: what gateways ask for from now on goes to nobody.
func (t *omTunnel) stop(base context.Context) {
	for _, x := range t.machine.Step(now(), dial.Stop{}) {
		if c, is := x.(dial.Close); is {
			t.act(base, c)
		}
	}
	ctx, cancel := context.WithTimeout(base, t.config.drain())
	defer cancel()
	t.server.Drain(ctx)
}

// renewed tells the machine when there is another certificate than before.
func (t *omTunnel) renewed(base context.Context) {
	own, err := t.certs.GetClientCertificate(nil)
	if err != nil || t.certs.Roots() == nil || own == t.shown {
		return
	}
	t.shown = own
	t.step(base, dial.Renewed{})
}

// follow tells the machine what the View says.
func (t *omTunnel) follow(base context.Context) {
	v, err := t.view()
	if err != nil {
		return // not synced: nothing is published yet
	}
	if list := relaysOf(v); !slices.Equal(list, t.relays) {
		t.relays = list
		t.step(base, dial.Relays{List: list})
	}
	if list := v.Tunnels(); !slices.Equal(list, t.addresses) {
		t.log.Info("gateways of the tunnel are published", "addresses", list)
		t.addresses = list
		t.step(base, dial.Addresses{List: list})
	}
}

// step lets the machine decide and does it.
func (t *omTunnel) step(base context.Context, e dial.Event) {
	for _, x := range t.machine.Step(now(), e) {
		t.act(base, x)
	}
	sessions := t.machine.Sessions()
	t.mu.Lock()
	before := t.sessions
	t.sessions = sessions
	t.mu.Unlock()
	t.news(before, sessions)
	t.judge()
}

// news logs which gateways have come and gone, connections aside.
func (t *omTunnel) news(before, after []dial.Session) {
	has := func(list []dial.Session, instance string) bool {
		return slices.ContainsFunc(list, func(s dial.Session) bool { return s.Instance == instance })
	}
	for _, s := range after {
		if !has(before, s.Instance) {
			t.log.Info("session with a gateway", "gateway", s.Instance, "address", s.Addr, "relay", s.Via)
		}
	}
	for _, s := range before {
		if !has(after, s.Instance) {
			t.log.Info("no session with this gateway any more", "gateway", s.Instance)
		}
	}
}

func (t *omTunnel) act(base context.Context, x dial.Action) {
	switch x := x.(type) {
	case dial.Dial:
		ctx, cancel := context.WithCancel(base)
		t.mu.Lock()
		t.conns[x.Conn] = &tunnelConn{cancel: cancel, via: x.Via}
		t.mu.Unlock()
		t.work.Go(func() {
			defer cancel()
			t.live(ctx, x)
		})
	case dial.Drain:
		t.log.Debug("connection is drained", "conn", x.Conn, "text", x.Why)
		if c := t.connOf(x.Conn); c != nil {
			t.work.Go(func() { t.server.Retire(base, c) })
		}
	case dial.Close:
		t.log.Debug("dial is given up", "conn", x.Conn, "text", x.Why)
		t.mu.Lock()
		if c := t.conns[x.Conn]; c != nil {
			c.cancel()
		}
		t.mu.Unlock()
	}
}

// live dials and serves one connection until its end.
func (t *omTunnel) live(ctx context.Context, x dial.Dial) {
	log := t.log.With("conn", x.Conn, "address", x.Addr)
	if x.Via != "" {
		log = log.With("relay", x.Via)
	}
	conn, err := t.wire.Dial(ctx, x.Addr, x.Via)
	if err == nil {
		t.mu.Lock()
		t.conns[x.Conn].conn, t.ids[conn] = conn, x.Conn
		t.mu.Unlock()
		err = t.server.Serve(ctx, conn)
	}
	t.mu.Lock()
	greeted := t.conns[x.Conn].greeted
	delete(t.conns, x.Conn)
	if conn != nil {
		delete(t.ids, conn)
	}
	t.mu.Unlock()
	if greeted {
		log.Debug("connection with a gateway has ended", "err", err)
	} else {
		t.metrics.failed(err)
		log.Debug("gateway is not reached", "err", err)
	}
	t.tell(dial.Ended{Conn: x.Conn})
}

// tell hands an event to run; after its end nobody listens.
func (t *omTunnel) tell(e dial.Event) {
	select {
	case t.events <- e:
	case <-t.done:
	}
}

func (t *omTunnel) connOf(id int) net.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.conns[id]; c != nil {
		return c.conn
	}
	return nil
}

// greeted takes what a gateway says of itself.
func (t *omTunnel) greeted(conn net.Conn, h stream.Hello) stream.Answer {
	t.mu.Lock()
	id, known := t.ids[conn]
	via := ""
	if known {
		t.conns[id].greeted, via = true, t.conns[id].via
	}
	t.mu.Unlock()
	if known {
		if h.Instance == "" {
			h.Instance = conn.RemoteAddr().String()
		}
		t.log.Debug("greeted by a gateway", "conn", id, "instance", h.Instance, "version", h.Version)
		t.tell(dial.Greeted{Conn: id, Instance: h.Instance, Instances: h.Instances})
	}
	return stream.Answer{Node: t.node, Version: version.String(), Via: via}
}

// left takes that a gateway is going away.
func (t *omTunnel) left(conn net.Conn) {
	t.mu.Lock()
	id, known := t.ids[conn]
	t.mu.Unlock()
	if known {
		go t.tell(dial.Left{Conn: id}) // it must not wait
	}
}

// ring says that streams have come; it does not wait.
func (t *omTunnel) ring() {
	select {
	case t.busy <- struct{}{}:
	default:
	}
}

// count tells the machine how many streams run where.
func (t *omTunnel) count(base context.Context) {
	t.mu.Lock()
	conns := map[int]net.Conn{}
	for conn, id := range t.ids {
		conns[id] = conn
	}
	t.mu.Unlock()
	for id, conn := range conns {
		if n := t.server.Load(conn); n != t.loads[id] {
			t.loads[id] = n
			t.step(base, dial.Streams{Conn: id, Count: n})
		}
	}
	for id := range t.loads {
		if conns[id] == nil {
			delete(t.loads, id)
		}
	}
}

// Sessions are the connections that serve now.
func (t *omTunnel) Sessions() []dial.Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions
}

func now() time.Time { return time.Now() } //nolint:forbidigo // where time enters
