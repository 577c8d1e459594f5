// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/tunnel"
	"github.com/magpie-edge/magpie/tunnel/mesh"
	"github.com/magpie-edge/magpie/vxlan"
)

// Packet is the first packet of a flow.
type Packet struct {
	Src   netip.Addr `json:"src"`
	Dst   netip.Addr `json:"dst"`
	Proto string     `json:"proto"`          // "tcp", "udp" or "icmp"
	Port  uint16     `json:"port,omitempty"` // destination port; 0 for icmp
}

// Verdict is what becomes of a packet.
type Verdict string

// The three ends of a walk.
const (
	Delivered Verdict = "delivered" // it reaches a pod or a node of the fleet
	Leaves    Verdict = "leaves"    // it goes out by a node's own default route
	Dropped   Verdict = "dropped"
)

// Kind says what carries a packet between its two nodes.
type Kind string

// The kinds of path, as connectivity and trace print them.
const (
	SameNode Kind = "same-node"
	Overlay  Kind = "overlay"
	Underlay Kind = "underlay" // node to node inside a domain, without us
	Link     Kind = "link"
	Outside  Kind = "outside"
)

// Hop is one thing that happens to the packet.
type Hop struct {
	Node string `json:"node"`
	// What happens: "pod", "route", "overlay", "link", "firewall",
	// "masquerade", "deliver" or "leave".
	What string `json:"what"`
	// Text says it with names and addresses, Why says by which object or rule.
	Text string `json:"text"`
	Why  string `json:"why"`
}

// Result is a whole walk.
type Result struct {
	Packet  Packet  `json:"packet"`
	Verdict Verdict `json:"verdict"`
	// Reason is one sentence: why it was dropped, or where it arrived.
	Reason string `json:"reason"`
	Kind   Kind   `json:"kind,omitempty"`
	// Nodes are those the packet crosses, in order.
	Nodes []string `json:"nodes"`
	// Relay is the domain that passes it on, if neither end's.
	Relay string `json:"relay,omitempty"`
	// MTU is the largest packet in bytes that the way carries; 0 if no object
	// on it has a limit.
	MTU  int   `json:"mtu,omitempty"`
	Hops []Hop `json:"hops"`
}

// Fleet is every node's View. It caches plans and is not safe for concurrent
// use.
type Fleet struct {
	views map[string]fleet.View
	nodes map[string]*node
}

// New returns the Fleet of these Views, one a node.
func New(views []fleet.View) *Fleet {
	f := &Fleet{views: make(map[string]fleet.View, len(views)), nodes: map[string]*node{}}
	for _, v := range views {
		f.views[v.Self.Node] = v
	}
	return f
}

// Part is what one owner wants on a node.
type Part struct {
	Owner plan.Owner
	Plan  plan.Plan
}

// Parts returns what the node of v should have, a part an owner in the order
// in which the agent lists them, with v.Links filled as an agent fills them,
// and the notes on links that cannot be. The plans of single pods are the
// ledger's and not known here.
func Parts(v fleet.View) ([]Part, []plan.Note, error) {
	links, notes := tunnel.Choose(v)
	v.Links = links
	overlay, err := vxlan.Plan(v)
	if err != nil {
		return nil, nil, fmt.Errorf("plan vxlan of %s: %w", v.Self.Node, err)
	}
	peers, err := mesh.Plan(v)
	if err != nil {
		return nil, nil, fmt.Errorf("plan mesh of %s: %w", v.Self.Node, err)
	}
	parts := []Part{{vxlan.Owner, overlay}, {mesh.Owner, peers}, {cni.Owner, cni.Masquerade(v)}}
	if v.Settings.Hub {
		p, err := client.Plan(v)
		if err != nil {
			return nil, nil, fmt.Errorf("plan hub of %s: %w", v.Self.Node, err)
		}
		parts = append(parts, Part{client.Owner, p})
	}
	return parts, notes, nil
}

// Plan returns all parts as one.
func Plan(v fleet.View) (plan.Plan, error) {
	parts, notes, err := Parts(v)
	all := plan.Plan{Notes: notes}
	for _, p := range parts {
		add(&all, p.Plan)
	}
	return all, err
}

func add(to *plan.Plan, p plan.Plan) {
	to.Sysctls = append(to.Sysctls, p.Sysctls...)
	to.Devices = append(to.Devices, p.Devices...)
	to.Addrs = append(to.Addrs, p.Addrs...)
	to.Neighs = append(to.Neighs, p.Neighs...)
	to.FDBs = append(to.FDBs, p.FDBs...)
	to.Routes = append(to.Routes, p.Routes...)
	to.Rules = append(to.Rules, p.Rules...)
	to.Shapes = append(to.Shapes, p.Shapes...)
	to.Peers = append(to.Peers, p.Peers...)
	to.Allowed = append(to.Allowed, p.Allowed...)
	to.Tables = append(to.Tables, p.Tables...)
	to.Members = append(to.Members, p.Members...)
	to.Accepts = append(to.Accepts, p.Accepts...)
	to.Notes = append(to.Notes, p.Notes...)
}

// Views derives the View of every node from one View: what each node knows of
// itself as far as others can tell. The underlay device is not published and
// stands as UnknownDevice with mtu. The View of v.Self, if any, stays as it is.
func Views(v fleet.View, mtu int) []fleet.View {
	var out []fleet.View
	for _, d := range v.Domains {
		for _, n := range d.Nodes {
			if n.Name == v.Self.Node {
				out = append(out, v)
				continue
			}
			own := v
			own.Links = nil
			own.Self = self(d, n, mtu)
			out = append(out, own)
		}
	}
	slices.SortFunc(out, func(a, b fleet.View) int { return compare(a.Self.Node, b.Self.Node) })
	return out
}

// UnknownDevice stands for a node's underlay interface where only the node
// itself knows its name.
const UnknownDevice = "underlay"

func self(d fleet.Domain, n fleet.Node, mtu int) fleet.Self {
	s := fleet.Self{Node: n.Name, Domain: d.Name, PodCIDRs: n.PodCIDRs, VTEPMAC: n.VTEPMAC, VTEPMAC6: n.VTEPMAC6}
	if s.VTEPMAC == "" {
		s.VTEPMAC = fleet.MAC(n.Name, "vxlan4")
	}
	if s.VTEPMAC6 == "" {
		s.VTEPMAC6 = fleet.MAC(n.Name, "vxlan6")
	}
	if n.Addr4.IsValid() {
		s.Underlay4 = fleet.Underlay{Dev: UnknownDevice, Addr: n.Addr4, MTU: mtu}
	}
	if n.Addr6.IsValid() {
		s.Underlay6 = fleet.Underlay{Dev: UnknownDevice, Addr: n.Addr6, MTU: mtu}
	}
	if g, ok := d.Gateway(n.Name); ok {
		s.LinkKey = g.PublicKey
	}
	return s
}
