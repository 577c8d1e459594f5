// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Table is the name of our nftables table, of family inet.
const Table = api.TablePrefix + "cni"

// Codes of the notes this package writes.
const (
	// NoteNoPodCIDR: the node has no pod CIDR, so no pod can get an address.
	NoteNoPodCIDR = "no-pod-cidr"
)

// Masquerade returns what a node has for all of its pods together: the table
// with masquerade and hostPort rules, the accepts in the host's FORWARD
// chains, and forwarding itself.
//
// A pod keeps its own address towards pods of the cluster, towards nodes of
// its own domain and towards what other domains own; node addresses of other
// domains are never routed, and may be the same as ours. Everything else
// leaves with the node's address.
func Masquerade(view fleet.View) plan.Plan {
	var p plan.Plan
	if len(view.Self.PodCIDRs) == 0 {
		p.Notes = append(p.Notes, plan.Note{
			Subject: "node " + view.Self.Node, Code: NoteNoPodCIDR,
			Text: "the node has no pod CIDR: start kube-controller-manager with --allocate-node-cidrs, or set spec.podCIDRs",
		})
	}
	for _, f := range []family{four, six} {
		if _, ok := view.Self.PodCIDR(f.v6); !ok {
			continue
		}
		p.Members = append(p.Members, nodes(view, f)...)
		for _, c := range cluster(view, f) {
			p.Accepts = append(p.Accepts,
				plan.Accept{V6: f.v6, Chain: "FORWARD", Match: "-s " + c.String()},
				plan.Accept{V6: f.v6, Chain: "FORWARD", Match: "-d " + c.String()},
			)
		}
		p.Sysctls = append(p.Sysctls, plan.Sysctl{Name: forwarding(f), Value: "1"})
	}
	if len(view.Self.PodCIDRs) > 0 {
		fastPath(&p, view)
		p.Tables = []plan.Table{{Family: "inet", Name: Table, Body: body(view)}}
	}
	return p
}

func forwarding(f family) string {
	if f.v6 {
		return "net/ipv6/conf/all/forwarding"
	}
	return "net/ipv4/ip_forward"
}

// nodes are members and not part of the body: a node that joins is one write
// then, and not a table swapped on every node of its domain.
func nodes(view fleet.View, f family) []plan.Member {
	home, _ := view.Home()
	var addrs []netip.Addr
	for _, n := range home.Nodes {
		a := n.Addr4
		if f.v6 {
			a = n.Addr6
		}
		if a.IsValid() {
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	var out []plan.Member
	for _, a := range slices.Compact(addrs) {
		out = append(out, f.member(setNodes, a.String(), ""))
	}
	return out
}

// cluster are the ranges that pods live in, without those inside others.
func cluster(view fleet.View, f family) []netip.Prefix {
	all := slices.Clone(view.Settings.ClusterCIDRs)
	all = append(all, view.Self.PodCIDRs...)
	for _, d := range view.Domains {
		for _, n := range d.Nodes {
			all = append(all, n.PodCIDRs...)
		}
	}
	return outermost(all, f.v6)
}

// keep are the destinations outside the own domain's nodes towards which pods
// keep their address. What the own domain owns beside pods (its Extra) is not
// among them: hosts of our own LAN know the way to the node, not to the pod.
func keep(view fleet.View, f family) []netip.Prefix {
	all := cluster(view, f)
	all = append(all, view.Settings.NonMasquerade...)
	for _, d := range view.Domains {
		if d.Name != view.Self.Domain {
			all = append(all, d.Extra...)
		}
	}
	return outermost(append(all, f.multi), f.v6)
}

// outermost sorts the prefixes of one family and drops those that lie inside
// another: an nftables interval set refuses overlaps.
func outermost(all []netip.Prefix, v6 bool) []netip.Prefix {
	var mine []netip.Prefix
	for _, p := range all {
		if p.IsValid() && p.Addr().Is6() == v6 {
			mine = append(mine, p.Masked())
		}
	}
	slices.SortFunc(mine, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range mine {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// rules collects the lines of the table's body.
type rules []string

func (r *rules) add(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

// body renders the table. Rules of a family without pod CIDR are left out, so
// that a kernel without IPv6 is never asked for it.
func body(view fleet.View) string {
	var r rules
	var families []family
	for _, f := range []family{four, six} {
		own, ok := view.Self.PodCIDR(f.v6)
		if !ok {
			continue
		}
		families = append(families, f)
		sets(&r, f, own, keep(view, f))
	}
	guard(&r, families)
	hostPorts(&r, families)
	masquerade(&r, families)
	return strings.Join(r, "\n") + "\n"
}

func sets(r *rules, f family, own netip.Prefix, keep []netip.Prefix) {
	r.add("add set pods%s { type %s ; flags interval ; }", f.digit, f.typ)
	r.add("add element pods%s { %s }", f.digit, own)
	r.add("add set keep%s { type %s ; flags interval ; }", f.digit, f.typ)
	for _, p := range keep {
		r.add("add element keep%s { %s }", f.digit, p)
	}
	r.add("add set %s%s { type %s ; }", setNodes, f.digit, f.typ)
	r.add("add set %s%s { type %s . %s ; }", setHairpin, f.digit, f.typ, f.typ)
	r.add("add map %s%s { type %s . inet_proto . inet_service : %s . inet_service ; }", setPorts, f.digit, f.typ, f.typ)
	r.add("add map %s%s { type inet_proto . inet_service : %s . inet_service ; }", setAny, f.digit, f.typ)
}

// guard keeps what route_localnet would open from pods: a pod must reach no
// service that the host offers on its loopback address only. What it answers to
// the host's own calls it may send there. The chain stands in the input hook,
// which a packet between pods never passes. One to a hostPort would leave that
// way, translated: hostPorts refuses it before. The kernel itself never routes ::1.
func guard(r *rules, families []family) {
	r.add("add chain guard { type filter hook input priority -300 ; }")
	for _, f := range families {
		if !f.v6 {
			r.add("add rule guard ip saddr %s iifname \"%s*\" drop", f.hostLo, api.DevicePodPrefix)
			r.add("add rule guard ip daddr %s iifname \"%s*\" ct direction reply accept", f.hostLo, api.DevicePodPrefix)
		}
	}
	loopback(r, "guard", families)
}

// loopback adds the rule that drops what a pod sends to the host's loopback range.
func loopback(r *rules, chain string, families []family) {
	for _, f := range families {
		if !f.v6 {
			r.add("add rule %s ip daddr %s iifname \"%s*\" drop", chain, f.hostLo, api.DevicePodPrefix)
		}
	}
}

// hostPorts sends packets to any of the host's addresses into the maps: those
// that arrive and those that the host itself sends. The exact address wins.
func hostPorts(r *rules, families []family) {
	r.add("add chain hostports")
	for _, f := range families {
		r.add("add rule hostports dnat %s to %s daddr . meta l4proto . th dport map @%s%s", f.ip, f.ip, setPorts, f.digit)
		r.add("add rule hostports meta nfproto %s dnat %s to meta l4proto . th dport map @%s%s", f.nfproto(), f.ip, setAny, f.digit)
	}
	for _, hook := range []string{"prerouting", "output"} {
		r.add("add chain %s { type nat hook %s priority -100 ; }", hook, hook)
		if hook == "prerouting" {
			loopback(r, hook, families)
		}
		r.add("add rule %s meta l4proto { tcp, udp, sctp } fib daddr type local jump hostports", hook)
	}
}

func (f family) nfproto() string {
	if f.v6 {
		return "ipv6"
	}
	return "ipv4"
}

// masquerade gives the node's address to what leaves the cluster, with random
// ports because two CPUs may otherwise choose the same one at once.
func masquerade(r *rules, families []family) {
	r.add("add chain postrouting { type nat hook postrouting priority 100 ; }")
	// What kube-proxy has marked it masquerades itself.
	r.add("add rule postrouting meta mark & %#x == %#x return", api.MarkMasquerade, api.MarkMasquerade)
	for _, f := range families {
		// Both ends of a pod's call to itself are the pod: without a change of
		// source its kernel would drop the packet as its own.
		r.add("add rule postrouting %s saddr . %s daddr @%s%s masquerade fully-random", f.ip, f.ip, setHairpin, f.digit)
		if !f.v6 {
			r.add("add rule postrouting %s saddr %s oifname \"%s*\" masquerade fully-random", f.ip, f.hostLo, api.DevicePodPrefix)
		}
		r.add("add rule postrouting %s saddr != @pods%s return", f.ip, f.digit)
		r.add("add rule postrouting %s daddr @keep%s return", f.ip, f.digit)
		r.add("add rule postrouting %s daddr @%s%s return", f.ip, setNodes, f.digit)
		r.add("add rule postrouting meta nfproto %s masquerade fully-random", f.nfproto())
	}
}
