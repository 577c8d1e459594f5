// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"fmt"
	"net/netip"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Owner marks what this package plans.
var Owner = plan.Owner{Name: "vxlan", Proto: api.ProtoVXLAN}

// Codes of the notes this package writes.
const (
	NoteNoDomain   = "no-domain"    // this node is in no DomainSlice yet
	NoteNoUnderlay = "no-underlay"  // a pod CIDR but no address of its family on this node
	NoteNoAddress  = "no-address"   // a neighbour has no address of the family
	NoteNoVTEP     = "no-vtep-mac"  // a neighbour has not published its VTEP's MAC
	NoteGatewayOff = "gateway-mute" // a link's gateway cannot be reached over the overlay
	NoteMTUClamped = "mtu-clamped"  // the operator's MTU is more than the underlay carries
	NoteNarrow     = "mtu-too-small-for-ipv6"
)

// Plan returns the overlay of the node v.Self. v.Links must be filled.
func Plan(v fleet.View) (plan.Plan, error) {
	home, ok := v.Home()
	if !ok {
		return plan.Plan{Notes: []plan.Note{{
			Subject: "node " + v.Self.Node, Code: NoteNoDomain,
			Text: "the manager has not put this node into a domain yet; see the log of magpie-manager",
		}}}, nil
	}
	var p plan.Plan
	for _, f := range families(v) {
		if _, ok := v.Self.PodCIDR(f.v6); !ok {
			continue
		}
		o := overlay{family: f, view: v, home: home}
		o.build(&p)
	}
	if len(p.Devices) > 0 {
		p.Tables = []plan.Table{untracked(v.Settings)}
	}
	return p, nil
}

// family is what differs between the IPv4 and the IPv6 overlay.
type family struct {
	v6       bool
	device   string
	mac      string
	underlay fleet.Underlay
}

func families(v fleet.View) [2]family {
	return [2]family{
		{device: api.DeviceVXLAN4, mac: v.Self.VTEPMAC, underlay: v.Self.Underlay4},
		{v6: true, device: api.DeviceVXLAN6, mac: v.Self.VTEPMAC6, underlay: v.Self.Underlay6},
	}
}

func (f family) word() string {
	if f.v6 {
		return "IPv6"
	}
	return "IPv4"
}

func (f family) host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// vtep is where a node listens, in this family.
func (f family) vtep(n fleet.Node) (addr netip.Addr, mac string) {
	if f.v6 {
		return n.Addr6, n.VTEPMAC6
	}
	return n.Addr4, n.VTEPMAC
}

// overlay builds the objects of one family.
type overlay struct {
	family
	view fleet.View
	home fleet.Domain
}

func (o overlay) build(p *plan.Plan) {
	own, _ := o.view.Self.PodCIDR(o.v6)
	if !o.underlay.OK() {
		o.note(p, "node "+o.view.Self.Node, NoteNoUnderlay,
			"it has an "+o.word()+" pod CIDR but no "+o.word()+" address to carry the overlay")
		return
	}
	mtu := o.view.OverlayMTU(o.v6)
	if o.v6 && mtu == 0 {
		o.note(p, "node "+o.view.Self.Node, NoteNarrow, fmt.Sprintf(
			"%s, whose MTU is %d, leaves an overlay less than the %d bytes that IPv6 needs: there is no IPv6 overlay",
			o.underlay.Dev, o.underlay.MTU, api.MTUMin))
		return
	}
	if mtu < o.view.Settings.MTU {
		o.note(p, "node "+o.view.Self.Node, NoteMTUClamped, fmt.Sprintf(
			"network.mtu asks for %d bytes, but the %s overlay over %s, whose MTU is %d, carries %d: pods get no more",
			o.view.Settings.MTU, o.word(), o.underlay.Dev, o.underlay.MTU, mtu))
	}
	p.Devices = append(p.Devices, plan.Device{
		Name: o.device, Kind: plan.VXLAN, MAC: o.mac, MTU: mtu,
		VNI: o.view.Settings.VNI, Port: o.view.Settings.Port,
		Local: o.underlay.Addr, Underlay: o.underlay.Dev,
	})
	p.Addrs = append(p.Addrs, plan.Addr{Dev: o.device, Prefix: o.host(own.Addr())})
	if o.view.Settings.FastPath {
		p.Programs = append(p.Programs, plan.Program{Dev: o.device, Name: plan.FromOverlay})
	}
	p.Sysctls = append(p.Sysctls, o.sysctls()...)
	peers := o.neighbours(p)
	o.links(p, peers)
}

// sysctls make the host forward for its pods. accept_ra 0: an overlay has no
// routers. rp_filter 2: a packet of another domain may come in over the
// overlay and go out by a tunnel of this node.
func (o overlay) sysctls() []plan.Sysctl {
	if o.v6 {
		return []plan.Sysctl{
			{Name: "net/ipv6/conf/all/forwarding", Value: "1"},
			{Name: "net/ipv6/conf/" + o.device + "/accept_ra", Value: "0"},
		}
	}
	return []plan.Sysctl{
		{Name: "net/ipv4/ip_forward", Value: "1"},
		{Name: "net/ipv4/conf/" + o.device + "/rp_filter", Value: "2"},
	}
}

// neighbours plans every other node of the domain and returns, by node name,
// the next hop that leads to it.
func (o overlay) neighbours(p *plan.Plan) map[string]netip.Addr {
	hops := make(map[string]netip.Addr, len(o.home.Nodes))
	for _, n := range o.home.Nodes {
		cidr, ok := n.PodCIDR(o.v6)
		if !ok || n.Name == o.view.Self.Node {
			continue
		}
		addr, mac := o.vtep(n)
		if !addr.IsValid() {
			o.note(p, "node "+n.Name, NoteNoAddress, "it has no "+o.word()+" address; its "+o.word()+" pods cannot be reached")
			continue
		}
		if mac == "" {
			o.note(p, "node "+n.Name, NoteNoVTEP, "it has not published the MAC of its "+o.word()+" VTEP yet; is its agent running?")
			continue
		}
		hop := cidr.Addr()
		p.Neighs = append(p.Neighs, plan.Neigh{Dev: o.device, IP: hop, MAC: mac})
		p.FDBs = append(p.FDBs, plan.FDB{Dev: o.device, MAC: mac, Dst: addr})
		p.Routes = append(p.Routes, o.route(cidr, hop, 0))
		hops[n.Name] = hop
	}
	return hops
}

// links plans the way to every other domain through the gateway that carries
// it. A gateway has no routes of this kind for the links it carries itself:
// tunnel/mesh plans those.
func (o overlay) links(p *plan.Plan, hops map[string]netip.Addr) {
	for _, l := range o.view.Links {
		if l.Gateway == o.view.Self.Node {
			continue
		}
		far, ok := o.view.Domain(l.Domain)
		if !ok {
			continue
		}
		hop, ok := hops[l.Gateway]
		if !ok {
			o.note(p, "domain "+l.Domain, NoteGatewayOff, "its gateway "+l.Gateway+" cannot be reached over the "+o.word()+" overlay")
			continue
		}
		for _, cidr := range far.CIDRs() {
			if cidr.Addr().Is6() == o.v6 {
				p.Routes = append(p.Routes, o.route(cidr, hop, min(l.MTU, o.view.OverlayMTU(o.v6))))
			}
		}
	}
}

func (o overlay) route(dst netip.Prefix, hop netip.Addr, mtu int) plan.Route {
	return plan.Route{Dst: dst, Via: hop, Dev: o.device, OnLink: true, MTU: mtu}
}

func (o overlay) note(p *plan.Plan, subject, code, text string) {
	p.Notes = append(p.Notes, plan.Note{Subject: subject, Code: code, Text: text})
}
