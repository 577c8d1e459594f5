// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/internal/version"
	"github.com/magpie-edge/magpie/tunnel/directory"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// certificates is our own certificate and whom we trust: cluster.Certificates.
type certificates interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	Roots() *x509.CertPool
	Who() (identity.Who, bool)
	Now() time.Time
	ClockOff() time.Duration
}

// people is who and what there is: cluster.Directory.
type people interface {
	Ready() error
	Changed() <-chan struct{}
	Removed() <-chan cluster.Removed
	NodeUID(string) (string, bool)
	Resolve(host string, port uint16) ([]directory.Route, error)
	Instances() []cluster.Instance
	Authenticate(ctx context.Context, token string) (cluster.User, error)
	Authorize(ctx context.Context, u cluster.User, verb, node, subresource string) error
}

// gateway is one instance.
type gateway struct {
	config   Config
	certs    certificates
	people   people
	allow    stream.Allow
	sessions *stream.Sessions // of agents
	peers    *stream.Sessions // of other instances, which we dialled
	passing  *stream.Server   // for other instances, which dialled us
	audit    *audit
	log      *slog.Logger
	now      func() time.Time
	draining atomic.Bool
}

// newGateway wires what carries streams; nothing listens yet.
func newGateway(c Config, certs certificates, people people, log *slog.Logger, now func() time.Time) (*gateway, error) {
	allow, err := c.allow()
	if err != nil {
		return nil, err
	}
	g := &gateway{config: c, certs: certs, people: people, allow: allow, audit: newAudit(log, now), log: log, now: now}
	g.sessions = stream.NewSessions(stream.SessionsOptions{
		Allow: allow.Check, Limits: c.limits(), Hello: g.hello, Done: g.audit.ended, Changed: g.changed, Now: now,
	})
	// What limits one node must not limit a peer, which carries streams of many.
	wide := c.limits()
	wide.Streams, wide.DialsPerSecond, wide.Buffered = 10*wide.Streams, 10*wide.DialsPerSecond, 4*wide.Buffered
	g.peers = stream.NewSessions(stream.SessionsOptions{
		Allow: allow.Check, Limits: wide, Done: g.audit.ended, Changed: g.peerChanged, Now: now,
	})
	g.passing = stream.NewServer(stream.ServerOptions{
		Dial: g.pass, Allow: allow.Check, Limits: wide, Done: g.audit.refused, Now: now,
	})
	g.audit.watch(g)
	return g, nil
}

// door is where agents and other instances come in.
func (g *gateway) door() *wire.Door {
	return &wire.Door{
		Certificate: g.certs.GetCertificate,
		Verify:      g.verify,
		Handle: map[string]func(context.Context, net.Conn, stream.Far){
			stream.ProtoAgent: func(ctx context.Context, c net.Conn, far stream.Far) {
				// Why it ended is in what Changed is told.
				_ = g.sessions.Serve(ctx, c, far)
			},
			stream.ProtoPeer: func(ctx context.Context, c net.Conn, far stream.Far) {
				g.log.Info("instance connected", "instance", far.Name)
				err := g.passing.Serve(ctx, c)
				g.log.Info("instance left", "instance", far.Name, "err", err)
			},
		},
		Limits: g.handshakes(),
		Seen:   g.audit.handshake,
		Now:    g.now,
	}
}

func (g *gateway) handshakes() wire.Handshakes {
	h := g.config.Handshakes
	return wire.Handshakes{
		Timeout: h.Timeout.Duration, Total: h.Total, PerSource: h.PerSource, Failures: h.Failures, PerSecond: h.PerSecond,
	}
}

// verify says who is at the door. The certificate's authority is not enough: a
// node that was deleted, or made again, has one that is still valid.
func (g *gateway) verify(proto string, chain []*x509.Certificate) (stream.Far, error) {
	kind := identity.Agent
	if proto == stream.ProtoPeer {
		kind = identity.Gateway
	}
	who, err := identity.Verify(chain, g.certs.Roots(), g.certs.Now(), kind)
	if err != nil {
		return stream.Far{}, err
	}
	// Sessions look at the clock of this machine, which may be another one.
	far := stream.Far{Name: who.Name, UID: who.UID, Expires: who.Expires.Add(g.certs.ClockOff())}
	if kind == identity.Gateway {
		if !slices.ContainsFunc(g.people.Instances(), func(i cluster.Instance) bool { return i.Name == who.Name }) {
			return stream.Far{}, fmt.Errorf("no instance is called %s", who.Name)
		}
		return far, nil
	}
	switch uid, ok := g.people.NodeUID(who.Name); {
	case !ok:
		return stream.Far{}, fmt.Errorf("there is no node %s", who.Name)
	case uid != who.UID:
		return stream.Far{}, fmt.Errorf("node %s was made again since this certificate was issued", who.Name)
	}
	return far, nil
}

// hello is what an agent needs to find every instance behind one address.
func (g *gateway) hello() stream.Hello {
	h := stream.Hello{Instance: g.config.Instance, Version: version.String()}
	for _, i := range g.people.Instances() {
		if i.Ready || i.Name == g.config.Instance {
			h.Instances = append(h.Instances, i.Name)
		}
	}
	return h
}

func (g *gateway) changed(s stream.Session, up bool, why string) {
	if up {
		g.log.Info("node connected", "node", s.Node, "remote", s.Remote)
		// The Node may have been removed since the door asked, and evict may have
		// come before there was a session to cut.
		if uid, ok := g.people.NodeUID(s.Node); !ok || uid != s.UID {
			go g.sessions.CloseNode(s.Node, "the Node is gone")
		}
		return
	}
	g.log.Info("node left", "node", s.Node, "remote", s.Remote, "took", g.now().Sub(s.Since), "reason", why)
}

func (g *gateway) peerChanged(s stream.Session, up bool, why string) {
	if up {
		g.log.Info("instance reached", "instance", s.Node, "remote", s.Remote)
		return
	}
	g.log.Info("instance lost", "instance", s.Node, "reason", why)
}

// evict cuts the sessions of nodes that are removed, as they are.
func (g *gateway) evict(ctx context.Context) {
	for {
		select {
		case r := <-g.people.Removed():
			g.log.Info("node removed", "node", r.Node, "reason", r.Why)
			g.sessions.CloseNode(r.Node, r.Why)
		case <-ctx.Done():
			return
		}
	}
}
