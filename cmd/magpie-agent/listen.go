// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/mesh"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// listenEvery is how often the counters of the peers are read: what a peer's
// silence takes to be noticed beside api.LinkSilence.
const listenEvery = 2 * time.Second

// hearing is when the peers of this node's links were last heard.
type hearing struct {
	mu   sync.Mutex
	ears mesh.Ears
}

func (h *hearing) listen(now time.Time, sounds []mesh.Sound) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ears.Listen(now, sounds)
}

// heard fills in what the counters of a moment do not say.
func (h *hearing) heard(peers []peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, p := range peers {
		peers[i].heard, peers[i].live = h.ears.Heard(p.key)
	}
}

// listen says hello to the peers and hears whether they live, until ctx ends.
// On a node that is no gateway there are none.
func (a *agent) listen(ctx context.Context) error {
	var hello wire.Hello
	defer hello.Close()
	tick := time.NewTicker(listenEvery)
	defer tick.Stop()
	var said time.Time
	for {
		now := time.Now() //nolint:forbidigo // where time enters
		hellos := a.hellos()
		if now.Sub(said) >= api.LinkHello*time.Second && len(hellos) > 0 {
			said = now
			if err := hello.Send(ctx, addrs(hellos)); err != nil {
				a.log.Debug("hello is not sent", "err", err)
			}
		}
		a.hear(now, hellos)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// hear reads the counters once and wakes the loops if a peer came or went.
func (a *agent) hear(now time.Time, hellos []mesh.Hello) {
	peers, _, err := a.sessions()
	if err != nil {
		a.log.Debug("peers cannot be read now", "err", err)
		return
	}
	greeted := map[string]bool{}
	for _, h := range hellos {
		greeted[h.Peer] = true
	}
	sounds := make([]mesh.Sound, 0, len(peers))
	for _, p := range peers {
		sounds = append(sounds, mesh.Sound{Peer: p.key, Rx: p.rx, Handshake: p.handshake, Hello: greeted[p.key]})
	}
	if a.hearing.listen(now, sounds) {
		a.bell.ring()
	}
}

// hellos are those of the current View.
func (a *agent) hellos() []mesh.Hello {
	v, err := a.source.Read()
	if err != nil {
		return nil
	}
	return mesh.Hellos(v)
}

func addrs(hellos []mesh.Hello) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(hellos))
	for _, h := range hellos {
		out = append(out, h.To)
	}
	return out
}
