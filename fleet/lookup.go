// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"net/netip"
	"slices"
	"strconv"
)

// Domain returns the domain of that name.
func (v View) Domain(name string) (Domain, bool) {
	for _, d := range v.Domains {
		if d.Name == name {
			return d, true
		}
	}
	return Domain{}, false
}

// Home returns the domain this node is in.
func (v View) Home() (Domain, bool) { return v.Domain(v.Self.Domain) }

// Node returns the node of that name and its domain.
func (v View) Node(name string) (Node, Domain, bool) {
	for _, d := range v.Domains {
		for _, n := range d.Nodes {
			if n.Name == name {
				return n, d, true
			}
		}
	}
	return Node{}, Domain{}, false
}

// Tunnels returns where this node dials magpie-gateway, sorted. A node of a
// cloud domain dials nobody: gateways reach it at its own address. Nor does one
// whose domain is not known yet.
func (v View) Tunnels() []string {
	if v.Self.Domain == "" {
		return nil
	}
	var out []string
	for _, d := range v.Domains {
		if d.Cloud && d.Name == v.Self.Domain {
			return nil
		}
		if d.Cloud {
			out = append(out, d.Tunnels...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Owner returns the node whose pod CIDR holds addr, and its domain.
func (v View) Owner(addr netip.Addr) (Node, Domain, bool) {
	holds := func(p netip.Prefix) bool { return p.Contains(addr) }
	for _, d := range v.Domains {
		for _, n := range d.Nodes {
			if slices.ContainsFunc(n.PodCIDRs, holds) {
				return n, d, true
			}
		}
	}
	return Node{}, Domain{}, false
}

// CIDRs returns everything the domain owns: the pod CIDRs of its nodes in the
// order of their names, then Extra.
func (d Domain) CIDRs() []netip.Prefix {
	var out []netip.Prefix
	for _, n := range d.Nodes {
		out = append(out, n.PodCIDRs...)
	}
	return append(out, d.Extra...)
}

// Node returns the node of that name.
func (d Domain) Node(name string) (Node, bool) {
	for _, n := range d.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Gateway returns the gateway on that node.
func (d Domain) Gateway(node string) (Gateway, bool) {
	for _, g := range d.Gateways {
		if g.Node == node {
			return g, true
		}
	}
	return Gateway{}, false
}

// PodCIDR returns the node's pod CIDR of the family of the flag.
func (n Node) PodCIDR(v6 bool) (netip.Prefix, bool) { return ofFamily(n.PodCIDRs, v6) }

// PodCIDR returns this node's own pod CIDR of the family of the flag.
func (s Self) PodCIDR(v6 bool) (netip.Prefix, bool) { return ofFamily(s.PodCIDRs, v6) }

func ofFamily(ps []netip.Prefix, v6 bool) (netip.Prefix, bool) {
	for _, p := range ps {
		if p.Addr().Is6() == v6 {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// String returns the link in one line, the form used in goldens and magpiectl.
func (l Link) String() string {
	s := "link " + l.Domain + " gateway " + l.Gateway + " peer " + l.Peer
	if l.Relay != "" {
		s += " relay " + l.Relay
	}
	return s + " path " + l.Path + " mtu " + strconv.Itoa(l.MTU)
}
