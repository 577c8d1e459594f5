// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

// node is one node with its plan, ready for lookups.
type node struct {
	view  fleet.View
	plan  plan.Plan
	rules firewall
}

// node returns the node of that name, planning it the first time.
func (f *Fleet) node(name string) (*node, error) {
	if n, ok := f.nodes[name]; ok {
		return n, nil
	}
	v, ok := f.views[name]
	if !ok {
		return nil, fmt.Errorf("no view of node %s", name)
	}
	p, err := Plan(v)
	if err != nil {
		return nil, err
	}
	fw, err := parseTables(p.Tables, p.Members)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	n := &node{view: v, plan: p, rules: fw}
	f.nodes[name] = n
	return n, nil
}

func (n *node) name() string { return n.view.Self.Node }

// local reports whether addr lies in the node's own pod range.
func (n *node) local(addr netip.Addr) bool {
	return slices.ContainsFunc(n.view.Self.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// own reports whether addr is the node's own: of its underlay or of a device
// we gave it.
func (n *node) own(addr netip.Addr) bool {
	if addr == n.view.Self.Underlay4.Addr || addr == n.view.Self.Underlay6.Addr {
		return true
	}
	return slices.ContainsFunc(n.plan.Addrs, func(a plan.Addr) bool { return a.NS == "" && a.Prefix.Addr() == addr })
}

// route is the kernel's lookup: rules by priority, the main table last, in
// each table the longest prefix.
func (n *node) route(p Packet, mark uint32) (plan.Route, bool) {
	tables := []int{}
	rules := slices.Clone(n.plan.Rules)
	slices.SortStableFunc(rules, func(a, b plan.Rule) int { return compare(a.Priority, b.Priority) })
	for _, r := range rules {
		if applies(r, p, mark) {
			tables = append(tables, r.Table)
		}
	}
	for _, t := range append(tables, api.TableMain) {
		if r, ok := n.longest(t, p.Dst); ok {
			return r, true
		}
	}
	return plan.Route{}, false
}

// Source is the address that the node from itself sends to dst with: the
// route's, else that of the device the packet leaves by, else its underlay's.
func (f *Fleet) Source(from string, dst netip.Addr) (netip.Addr, error) {
	n, err := f.node(from)
	if err != nil {
		return netip.Addr{}, err
	}
	r, ok := n.route(Packet{Dst: dst}, 0)
	switch {
	case ok && r.Src.IsValid():
		return r.Src, nil
	case ok:
		return n.address(r.Dev, dst.Is6()), nil
	}
	return n.address("", dst.Is6()), nil
}

// address is the node's on a device, else that of its underlay.
func (n *node) address(dev string, v6 bool) netip.Addr {
	for _, a := range n.plan.Addrs {
		if a.NS == "" && a.Dev == dev && a.Prefix.Addr().Is6() == v6 {
			return a.Prefix.Addr()
		}
	}
	if v6 {
		return n.view.Self.Underlay6.Addr
	}
	return n.view.Self.Underlay4.Addr
}

func applies(r plan.Rule, p Packet, mark uint32) bool {
	switch {
	case r.V6 != p.Dst.Is6(),
		r.From.IsValid() && !r.From.Contains(p.Src),
		r.To.IsValid() && !r.To.Contains(p.Dst),
		mark&r.Mask != r.Mark:
		return false
	}
	return true
}

func (n *node) longest(table int, dst netip.Addr) (best plan.Route, ok bool) {
	for _, r := range n.plan.Routes {
		if r.NS != "" || cmp.Or(r.Table, api.TableMain) != table || !r.Dst.Contains(dst) {
			continue
		}
		if !ok || r.Dst.Bits() > best.Dst.Bits() {
			best, ok = r, true
		}
	}
	return best, ok
}

func (n *node) device(name string) (plan.Device, bool) {
	i := slices.IndexFunc(n.plan.Devices, func(d plan.Device) bool { return d.NS == "" && d.Name == name })
	if i < 0 {
		return plan.Device{}, false
	}
	return n.plan.Devices[i], true
}

func (n *node) neigh(dev string, ip netip.Addr) (plan.Neigh, bool) {
	i := slices.IndexFunc(n.plan.Neighs, func(x plan.Neigh) bool { return x.NS == "" && x.Dev == dev && x.IP == ip })
	if i < 0 {
		return plan.Neigh{}, false
	}
	return n.plan.Neighs[i], true
}

func (n *node) fdb(dev, mac string) (plan.FDB, bool) {
	i := slices.IndexFunc(n.plan.FDBs, func(x plan.FDB) bool { return x.Dev == dev && x.MAC == mac })
	if i < 0 {
		return plan.FDB{}, false
	}
	return n.plan.FDBs[i], true
}

// allowed is WireGuard's lookup of the peer that owns an address.
func (n *node) allowed(dev string, addr netip.Addr) (best plan.Allowed, ok bool) {
	for _, a := range n.plan.Allowed {
		if a.Dev != dev || !a.Prefix.Contains(addr) {
			continue
		}
		if !ok || a.Prefix.Bits() > best.Prefix.Bits() {
			best, ok = a, true
		}
	}
	return best, ok
}

func (n *node) peer(dev, key string) (plan.Peer, bool) {
	i := slices.IndexFunc(n.plan.Peers, func(p plan.Peer) bool { return p.Dev == dev && p.PublicKey == key })
	if i < 0 {
		return plan.Peer{}, false
	}
	return n.plan.Peers[i], true
}

// vtep returns the node of the sender's domain whose overlay listens at addr.
func (f *Fleet) vtep(from *node, dev plan.Device, addr netip.Addr) (string, bool) {
	home, _ := from.view.Home()
	for _, n := range home.Nodes {
		if n.Addr4 == addr || n.Addr6 == addr {
			return n.Name, n.Name != from.name() && dev.Kind == plan.VXLAN
		}
	}
	return "", false
}

// keyHolder returns the gateway node that has published a key.
func (n *node) keyHolder(key string) (string, bool) {
	for _, d := range n.view.Domains {
		for _, g := range d.Gateways {
			if g.PublicKey == key {
				return g.Node, true
			}
		}
	}
	return "", false
}
