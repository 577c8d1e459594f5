// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/tunnel/directory"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/stream/entry"
)

// roads is how entries get to nodes.
func (g *gateway) roads() *entry.Roads {
	return &entry.Roads{
		Resolve:     g.resolve,
		Allow:       g.allow.Check,
		AllowDirect: g.allowDirect,
		Here:        g.here,
		There:       g.there,
		Dial:        dial,
		Done:        g.audit.refused,
		Direct:      g.audit.ended,
		Now:         g.now,
		Timeout:     g.config.Limits.Dial.Duration,
	}
}

// resolve asks the directory. What it does not know is never looked up anywhere
// else.
func (g *gateway) resolve(w entry.Wish) ([]entry.Way, error) {
	routes, err := g.people.Resolve(w.Host, w.Port)
	if errors.Is(err, reconcile.ErrNotReady) {
		return nil, refuse(stream.CodeNoSession, "the gateway does not know the cluster yet")
	}
	if errors.Is(err, directory.ErrNoBackend) {
		return nil, refuse(stream.CodeNoSession, w.String()+": "+err.Error())
	}
	if err != nil {
		return nil, refuse(stream.CodeNotAllowed, w.String()+": "+err.Error())
	}
	ways := make([]entry.Way, 0, len(routes))
	for _, r := range routes {
		ways = append(ways, entry.Way{Target: stream.Target{Node: r.Node, Addr: r.Addr, Port: r.Port}, Direct: r.Direct})
	}
	return ways, nil
}

// everywhere are the ranges that a direct address may come from, before those
// that stream.Allow never allows and those that the config denies.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// allowDirect checks an address that the gateway itself would dial, as if it
// were a pod: never loopback, link-local, metadata, nor what the config denies.
func (g *gateway) allowDirect(a netip.Addr) error {
	return stream.Allow{Pods: everywhere, Deny: g.allow.Deny}.Check(stream.Target{Addr: a, Port: 1})
}

// here opens a stream on a session of this instance.
func (g *gateway) here(ctx context.Context, c stream.Call) (stream.Conn, error) {
	if g.draining.Load() || !g.sessions.Has(c.Target.Node) {
		return nil, refuse(stream.CodeNoSession, "node "+c.Target.Node+" is not connected to this gateway")
	}
	return g.sessions.Open(ctx, c)
}

func dial(ctx context.Context, to netip.AddrPort) (stream.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil //nolint:forcetypeassert // that is what dialling tcp gives
}

// reviewing is how many tokens may be at the API server at once: a flood of
// false ones shall not become a flood there.
const reviewing = 32

// may is the judge of the HTTP entry.
func (g *gateway) may() func(context.Context, string, entry.Access) (string, error) {
	places := make(chan struct{}, reviewing)
	return func(ctx context.Context, token string, a entry.Access) (string, error) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			return "", refuse(stream.CodeTooManyDials, "too many tokens are being reviewed")
		}
		user, err := g.people.Authenticate(ctx, token)
		if errors.Is(err, cluster.ErrUnauthenticated) {
			return "", refuse(stream.CodeUnauthenticated, err.Error())
		}
		if err != nil {
			return "", refuse(stream.CodeForbidden, "the token could not be reviewed: "+err.Error())
		}
		if machine(user) {
			return "", refuse(stream.CodeForbidden, user.Name+" is a node or its agent: they have no business with other nodes")
		}
		return user.Name, g.authorize(ctx, user, a)
	}
}

// authorize asks for each subresource that would do, and returns why not.
func (g *gateway) authorize(ctx context.Context, user cluster.User, a entry.Access) error {
	for _, sub := range a.Subresources {
		err := g.people.Authorize(ctx, user, a.Verb, a.Node, sub)
		if err == nil {
			return nil
		}
		if !errors.Is(err, cluster.ErrForbidden) {
			return refuse(stream.CodeForbidden, "the right could not be reviewed: "+err.Error())
		}
	}
	return refuse(stream.CodeForbidden, user.Name+" may not "+a.Verb+" nodes/"+strings.Join(a.Subresources, ", nodes/")+" of "+a.Node)
}

// machine reports whether a user is a kubelet or an agent on a node, which a
// thief of one node is, too.
func machine(u cluster.User) bool {
	return strings.HasPrefix(u.Name, "system:node:") || slices.Contains(u.Groups, "system:nodes") ||
		strings.HasPrefix(u.Name, "system:serviceaccount:") && strings.HasSuffix(u.Name, ":magpie-agent")
}

func refuse(code stream.Code, text string) *stream.Refusal {
	return &stream.Refusal{Code: code, Text: text}
}
