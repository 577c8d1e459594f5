// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"net/netip"
	"slices"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Hello is where the node says hello through a link: an address of the gateway
// at the far end, reached by that peer's own session.
type Hello struct {
	Peer string // public key
	To   netip.AddrPort
}

// Hellos returns one for each peer that carries traffic for us, sorted as the
// peers are. Persistent keepalives are not enough for either end to hear the
// other: each of them postpones the next one of the other side, so that the
// end whose timer is a little slower never sends any. A hello is data, and
// WireGuard answers data within ten seconds even if no agent runs over there.
// A peer that carries nothing has no address that leads to it.
// Source: wireguard.com/papers/wireguard.pdf section 6.5.
func Hellos(v fleet.View) []Hello {
	p, err := Plan(v)
	if err != nil {
		return nil
	}
	carried := make(map[plan.Allowed]bool, len(p.Allowed))
	for _, a := range p.Allowed {
		carried[a] = true
	}
	to := map[string]netip.AddrPort{}
	for _, d := range v.Domains {
		for _, g := range d.Gateways {
			n, _ := d.Node(g.Node)
			i := slices.IndexFunc(n.PodCIDRs, func(cidr netip.Prefix) bool {
				return carried[plan.Allowed{Dev: api.DeviceMesh, Prefix: cidr, Peer: g.PublicKey}]
			})
			if i >= 0 {
				to[g.PublicKey] = netip.AddrPortFrom(n.PodCIDRs[i].Addr(), api.PortHello)
			}
		}
	}
	var out []Hello
	for _, peer := range p.Peers {
		if at, ok := to[peer.PublicKey]; ok {
			out = append(out, Hello{Peer: peer.PublicKey, To: at})
		}
	}
	return out
}

// Sound is what one peer's counters say.
type Sound struct {
	Peer      string // public key
	Rx        int64  // bytes received; begins anew with the device
	Handshake time.Time
	Hello     bool // hellos go to it: silence means something soon
}

// Ears remember when each peer was last heard. The zero Ears are ready to use,
// by one goroutine at a time.
type Ears struct {
	peers map[string]*ear
}

type ear struct {
	rx    int64
	heard time.Time
	hello bool
	live  bool
}

// Listen takes the counters of all peers at now and reports whether that
// changes who lives. Call it several times an api.LinkSilence: a byte is heard
// when it is seen, not when it came.
func (e *Ears) Listen(now time.Time, sounds []Sound) (changed bool) {
	old := e.peers
	e.peers = make(map[string]*ear, len(sounds))
	for _, s := range sounds {
		p := old[s.Peer]
		if p == nil {
			p = begin(now, s)
			changed = true
		}
		if s.Rx != p.rx {
			p.rx, p.heard = s.Rx, now
		}
		p.hello = s.Hello
		if live := p.liveAt(now); live != p.live {
			p.live, changed = live, true
		}
		e.peers[s.Peer] = p
	}
	return changed || len(e.peers) != len(old)
}

// begin is for a peer that was there before we were. Nobody knows when its
// bytes came, so a session that can still be used counts as just heard: a
// restarted agent must not report for some seconds that every link is down.
func begin(now time.Time, s Sound) *ear {
	p := &ear{rx: s.Rx, heard: s.Handshake}
	if !s.Handshake.IsZero() && now.Sub(s.Handshake) < sessionLife {
		p.heard = now
	}
	return p
}

const (
	// sessionLife is how long a session can be used after its handshake.
	// Source: wireguard.com/papers/wireguard.pdf section 6.1, Reject-After-Time.
	sessionLife = 180 * time.Second
	// warmLife is how long a peer that is only kept warm may be silent. If its
	// keepalives are always postponed by ours, it speaks when its session ends:
	// at the next keepalive after 165 s, which may come a little after 180.
	warmLife = sessionLife + time.Minute
)

func (p *ear) liveAt(now time.Time) bool {
	patience := warmLife
	if p.hello {
		patience = api.LinkSilence * time.Second
	}
	return !p.heard.IsZero() && now.Sub(p.heard) < patience
}

// Heard returns whether the peer lived when Listen was last called, and when
// it was last heard; zero if it never was.
func (e *Ears) Heard(peer string) (last time.Time, live bool) {
	p := e.peers[peer]
	if p == nil {
		return time.Time{}, false
	}
	return p.heard, p.live
}
