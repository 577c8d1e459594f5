// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// retryListen is how long after a failure the relay tries to listen again: the
// node's address may not be there yet.
const retryListen = 10 * time.Second

// runRelay relays for the neighbours of a gateway node until ctx ends.
func (t *omTunnel) runRelay(ctx context.Context) error {
	var open sync.WaitGroup
	defer open.Wait()
	listening := map[netip.AddrPort]context.CancelFunc{}
	failed := make(chan netip.AddrPort)
	for {
		want := t.relayAt()
		for at, stop := range listening {
			if !slices.Contains(want, at) {
				stop()
				delete(listening, at)
			}
		}
		for _, at := range want {
			if listening[at] != nil {
				continue
			}
			serve, stop := context.WithCancel(ctx)
			listening[at] = stop
			open.Go(func() {
				defer stop()
				if err := t.relayOn(serve, at); serve.Err() == nil {
					t.log.Warn("neighbours cannot be relayed, trying again", "address", at, "err", err)
					pause(serve, retryListen)
					select {
					case failed <- at:
					case <-serve.Done(): // no longer wanted
					}
				}
			})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.relayViews:
		case at := <-failed:
			delete(listening, at)
		}
	}
}

// relayOn serves at one address.
func (t *omTunnel) relayOn(ctx context.Context, at netip.AddrPort) error {
	l, err := wire.Listen(ctx, at.String())
	if err != nil {
		return fmt.Errorf("listen for neighbours: %w", err)
	}
	t.log.Info("relaying for neighbours", "address", at)
	return t.relay.Serve(ctx, l)
}

// relayAt is where this node relays: at its own addresses, if it is a gateway
// node of a site that has other nodes.
func (t *omTunnel) relayAt() []netip.AddrPort {
	v, err := t.view()
	if err != nil {
		return nil
	}
	home, ok := v.Home()
	if _, gateway := home.Gateway(v.Self.Node); !ok || !gateway || home.Cloud || len(home.Nodes) < 2 || len(v.Tunnels()) == 0 {
		return nil
	}
	var out []netip.AddrPort
	for _, u := range []fleet.Underlay{v.Self.Underlay4, v.Self.Underlay6} {
		if u.OK() {
			out = append(out, netip.AddrPortFrom(u.Addr, api.PortTunnelRelay))
		}
	}
	return out
}

// isNeighbour reports whether an address is that of another node of our domain.
func (t *omTunnel) isNeighbour(addr netip.Addr) bool {
	v, err := t.view()
	if err != nil {
		return false
	}
	home, ok := v.Home()
	return ok && slices.ContainsFunc(home.Nodes, func(n fleet.Node) bool {
		return n.Name != v.Self.Node && (n.Addr4 == addr || n.Addr6 == addr)
	})
}

// isPublished reports whether agents dial an address.
func (t *omTunnel) isPublished(addr string) bool {
	v, err := t.view()
	return err == nil && slices.Contains(v.Tunnels(), addr)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
