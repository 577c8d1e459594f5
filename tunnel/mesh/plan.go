// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"net/netip"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Owner marks what this package plans.
var Owner = plan.Owner{Name: "mesh", Proto: api.ProtoMesh}

// Keepalive in seconds, from both ends. From the edge it keeps the NAT's
// mapping: below the 30 s after which the least patient devices forget one
// (RFC 4787 section 4.3 asks for two minutes). From the cloud it makes a
// gateway that has restarted, and lost its sessions, shake hands at once; the
// edge alone would notice after two minutes.
const Keepalive = 20

// Codes of the notes this package writes.
const (
	NoteNoKey  = "peer-without-key" // a gateway has not published its key
	NoteOldKey = "key-not-current"  // the cluster still knows another key of ours
)

// Plan returns the mesh of the node v.Self: empty unless it is a gateway of its
// domain. v.Links must be filled.
func Plan(v fleet.View) (plan.Plan, error) {
	home, ok := v.Home()
	if !ok || !v.Settings.Links {
		return plan.Plan{}, nil
	}
	self, ok := home.Gateway(v.Self.Node)
	if !ok {
		return plan.Plan{}, nil
	}
	m := mesh{view: v, home: home}
	if self.PublicKey != v.Self.LinkKey {
		m.note("node "+v.Self.Node, NoteOldKey, "the manager has not yet taken over the key this node published")
	}
	m.device()
	m.peers()
	m.links()
	m.firewall()
	return m.plan, nil
}

type mesh struct {
	view fleet.View
	home fleet.Domain
	plan plan.Plan
}

func (m *mesh) note(subject, code, text string) {
	m.plan.Notes = append(m.plan.Notes, plan.Note{Subject: subject, Code: code, Text: text})
}

// device plans the WireGuard device and its addresses. The address is the one
// the overlay's device has, too: kube-proxy masquerades with the address of the
// device a packet leaves by, and only a pod CIDR's address finds its way back
// from another domain.
func (m *mesh) device() {
	p := &m.plan
	p.Devices = append(p.Devices, plan.Device{
		Name: api.DeviceMesh, Kind: plan.WireGuard, MTU: m.view.LinkMTU(),
		ListenPort: api.PortLinks, PublicKey: m.view.Self.LinkKey,
	})
	p.Sysctls = append(p.Sysctls, plan.Sysctl{Name: "net/ipv4/conf/" + api.DeviceMesh + "/rp_filter", Value: "2"})
	for _, cidr := range m.view.Self.PodCIDRs {
		a := cidr.Addr()
		p.Addrs = append(p.Addrs, plan.Addr{Dev: api.DeviceMesh, Prefix: netip.PrefixFrom(a, a.BitLen())})
	}
}

// peers plans everyone this gateway keeps a session with: an edge gateway with
// every cloud gateway, which it dials; a cloud gateway with every edge gateway.
func (m *mesh) peers() {
	for _, d := range m.view.Domains {
		if d.Cloud == m.home.Cloud {
			continue
		}
		for _, g := range d.Gateways {
			if g.PublicKey == "" {
				m.note("node "+g.Node, NoteNoKey, "it is a gateway of "+d.Name+" but has not published its key; is its agent running?")
				continue
			}
			peer := plan.Peer{Dev: api.DeviceMesh, PublicKey: g.PublicKey}
			if d.Cloud && len(g.Endpoints) > 0 {
				peer.Endpoint = g.Endpoints[0]
			} else {
				peer.Last = m.heard(g.PublicKey)
			}
			if peer.Endpoint.IsValid() || peer.Last.IsValid() {
				peer.Keepalive = Keepalive
			}
			m.plan.Peers = append(m.plan.Peers, peer)
		}
	}
}

// heard returns where a peer was last heard, if it was.
func (m *mesh) heard(key string) netip.AddrPort {
	for _, h := range m.view.Self.Heard {
		if h.PublicKey == key {
			return h.At
		}
	}
	return netip.AddrPort{}
}

// links gives each peer the CIDRs it carries, and each CIDR its route.
func (m *mesh) links() {
	for _, l := range m.view.Links {
		if l.Gateway != m.view.Self.Node {
			continue
		}
		far, ok := m.view.Domain(l.Domain)
		if !ok {
			continue
		}
		key := m.keyOf(l)
		if key == "" {
			continue // peers has written the note
		}
		for _, cidr := range far.CIDRs() {
			if _, ok := m.view.Self.PodCIDR(cidr.Addr().Is6()); !ok {
				continue
			}
			m.plan.Allowed = append(m.plan.Allowed, plan.Allowed{Dev: api.DeviceMesh, Prefix: cidr, Peer: key})
			m.plan.Routes = append(m.plan.Routes, plan.Route{Dst: cidr, Dev: api.DeviceMesh, MTU: l.MTU})
		}
	}
}

// keyOf returns the public key of the gateway at the far end of a link.
func (m *mesh) keyOf(l fleet.Link) string {
	name := l.Domain
	if l.Relay != "" {
		name = l.Relay
	}
	d, ok := m.view.Domain(name)
	if !ok {
		return ""
	}
	g, _ := d.Gateway(l.Peer)
	return g.PublicKey
}
