// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

const (
	// peerTime is how long one instance may take to say that it has no session,
	// while others remain to be asked.
	peerTime = 3 * time.Second
	// redialMost is the longest pause before an instance is dialled again.
	redialMost = 5 * time.Second
)

// there opens a stream by way of another instance.
func (g *gateway) there(ctx context.Context, c stream.Call) (stream.Conn, error) {
	var last error = refuse(stream.CodeNoSession, "node "+c.Target.Node+" is not connected to any gateway: is its magpie-agent running, and does it reach the tunnel's address?")
	peers := g.peers.List()
	for i, p := range peers {
		limit := peerTime
		if i == len(peers)-1 {
			limit = g.config.Limits.Dial.Duration
		}
		conn, err := g.ask(ctx, p.Node, c, limit)
		if err == nil {
			return conn, nil
		}
		// Whoever has the session knows best why it did not work.
		if why, ok := errors.AsType[*stream.Refusal](err); !ok || why.Code != stream.CodeNoSession {
			last = err
		}
	}
	return nil, last
}

func (g *gateway) ask(ctx context.Context, instance string, c stream.Call, limit time.Duration) (stream.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return g.peers.OpenAt(ctx, instance, c)
}

// pass is the other end of ask: it answers from sessions of this instance only,
// so a stream is passed on once.
func (g *gateway) pass(ctx context.Context, c stream.Call) (net.Conn, error) {
	c.Caller = "peer " + c.Caller
	return g.here(ctx, c)
}

// meet keeps a connection to every other instance, and tells agents when there
// are more or fewer of them.
func (g *gateway) meet(ctx context.Context) {
	changed := g.people.Changed()
	known := map[string]context.CancelFunc{}
	var running sync.WaitGroup
	defer running.Wait()
	told := fmt.Sprint(g.hello().Instances)
	for {
		now := map[string]cluster.Instance{}
		for _, i := range g.people.Instances() {
			if i.Name != g.config.Instance && i.Addr.IsValid() {
				now[i.Name] = i
			}
		}
		for name, stop := range known {
			if _, ok := now[name]; !ok { // its streams end now, not when probes find out
				stop()
				delete(known, name)
				g.peers.CloseNode(name, "the instance is gone")
			}
		}
		for name := range now {
			if known[name] == nil {
				each, stop := context.WithCancel(ctx)
				known[name] = stop
				running.Go(func() { g.keep(each, name) })
			}
		}
		if says := fmt.Sprint(g.hello().Instances); says != told {
			told = says
			g.sessions.Announce(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// keep dials an instance again and again until ctx ends. Its address may change
// meanwhile, as that of a StatefulSet's pod does.
func (g *gateway) keep(ctx context.Context, name string) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := g.now()
		err := g.call(ctx, name)
		if g.now().Sub(began) > redialMost {
			pause = 100 * time.Millisecond
		}
		g.log.Debug("instance is dialled again", "instance", name, "err", err)
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, redialMost)
	}
}

// call dials an instance and stays until the connection ends.
func (g *gateway) call(ctx context.Context, name string) error {
	to := net.TCPAddr{}
	for _, i := range g.people.Instances() {
		if i.Name == name {
			to.IP = i.Addr.AsSlice()
		}
	}
	if _, port, err := net.SplitHostPort(g.config.Listen); err == nil {
		to.Port, _ = strconv.Atoi(port) // Validate has done the same
	}
	dialing, cancel := context.WithTimeout(ctx, g.config.Limits.Dial.Duration)
	defer cancel()
	conn, err := (&tls.Dialer{Config: g.peerTLS(name)}).DialContext(dialing, "tcp", to.String())
	if err != nil {
		return fmt.Errorf("dial instance %s: %w", name, err)
	}
	return g.peers.Serve(ctx, conn, stream.Far{Name: name})
}

// peerTLS accepts that very instance and nobody else.
func (g *gateway) peerTLS(name string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: identity.ServerName, NextProtos: []string{stream.ProtoPeer},
		GetClientCertificate: g.certs.GetClientCertificate,
		// VerifyConnection verifies, with the authorities of this moment.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			who, err := identity.Verify(s.PeerCertificates, g.certs.Roots(), g.certs.Now(), identity.Gateway)
			if err == nil && who.Name != name {
				err = fmt.Errorf("it is instance %s", who.Name)
			}
			return err
		},
	}
}
