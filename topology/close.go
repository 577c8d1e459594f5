// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Owner marks what Close plans.
var Owner = plan.Owner{Name: "fence", Proto: api.ProtoFence} //nolint:gochecknoglobals // a constant that Go cannot express

// Table is the name of the nftables table of the fence, of family inet.
const Table = api.TablePrefix + "fence"

// Names of its sets.
const (
	setClosed = "closed" // protocol . port: NodePorts that the node does not open
	setKept   = "kept"   // address . protocol . port of Services; the digit of the family follows
)

// Close is Fence for a node whose kube-proxy reads from the API server: the
// NodePorts that the node must not open are closed in nftables, at the node's
// own addresses, before any kube-proxy sees a packet to them. Services are all
// of the cluster, as the API server has them; none of them is not the same as
// not knowing them, which the caller must not mistake.
//
// An address of a Service may be one of the node's, too: kube-proxy in IPVS
// mode puts all of them on a device. What such an address serves at the number
// of a closed NodePort is no NodePort, and is kept.
func Close(v fleet.View, services []*corev1.Service) plan.Plan {
	if !v.Settings.Fence {
		return plan.Plan{}
	}
	node, _, _ := v.Node(v.Self.Node)
	closed := map[string]bool{}
	for _, svc := range services {
		if Listens(svc, node.Pool) {
			continue
		}
		for _, p := range svc.Spec.Ports {
			if p.NodePort != 0 {
				closed[socket(p.Protocol, p.NodePort)] = true
			}
		}
		if p := svc.Spec.HealthCheckNodePort; p != 0 {
			closed[socket(corev1.ProtocolTCP, p)] = true
		}
	}
	kept := map[plan.Member]bool{}
	for _, svc := range services {
		for _, p := range svc.Spec.Ports {
			if to := socket(p.Protocol, p.Port); closed[to] {
				keep(kept, svc, to)
			}
		}
	}
	p := plan.Plan{Tables: []plan.Table{{Family: "inet", Name: Table, Body: body()}}}
	for _, elem := range slices.Sorted(maps.Keys(closed)) {
		p.Members = append(p.Members, member(setClosed, elem))
	}
	p.Members = slices.AppendSeq(p.Members, maps.Keys(kept))
	slices.SortFunc(p.Members, func(a, b plan.Member) int {
		return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Elem, b.Elem))
	})
	return p
}

// keep adds where the Service itself answers at that protocol and port.
func keep(kept map[plan.Member]bool, svc *corev1.Service, to string) {
	addrs := slices.Concat(svc.Spec.ClusterIPs, svc.Spec.ExternalIPs)
	for _, in := range svc.Status.LoadBalancer.Ingress {
		addrs = append(addrs, in.IP)
	}
	for _, text := range addrs {
		a, err := netip.ParseAddr(text) // "None", or the load balancer has a name
		if err != nil {
			continue
		}
		digit := "4"
		if a.Is6() {
			digit = "6"
		}
		kept[member(setKept+digit, a.String()+" . "+to)] = true
	}
}

func member(set, elem string) plan.Member {
	return plan.Member{Family: "inet", Table: Table, Set: set, Elem: elem}
}

// socket is a protocol and port as nft writes it. TCP is what no protocol means.
func socket(proto corev1.Protocol, port int32) string {
	return fmt.Sprintf("%s . %d", strings.ToLower(cmp.Or(string(proto), string(corev1.ProtocolTCP))), port)
}

// body renders the table, which no Service changes.
//
// The chains come after connection tracking (-200), so that an answer to a port
// that a flow from here has taken by chance is told from a call to a NodePort,
// and before the first of kube-proxy's (-110 in nftables mode, -100 with
// iptables; IPVS comes later still).
//
// A closed port answers as one on which nobody listens. An existing flow ends
// like a new one: a port that is closed is closed.
func body() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("add set %s { type inet_proto . inet_service ; }", setClosed)
	line("add set %s4 { type ipv4_addr . inet_proto . inet_service ; }", setKept)
	line("add set %s6 { type ipv6_addr . inet_proto . inet_service ; }", setKept)
	line("add chain refuse")
	line("add rule refuse ip daddr . meta l4proto . th dport @%s4 return", setKept)
	line("add rule refuse ip6 daddr . meta l4proto . th dport @%s6 return", setKept)
	line("add rule refuse meta l4proto tcp reject with tcp reset")
	line("add rule refuse reject with icmpx type port-unreachable")
	for _, hook := range []string{"prerouting", "output"} {
		line("add chain %s { type filter hook %s priority %d ; }", hook, hook, priority)
		line("add rule %s ct direction original meta l4proto . th dport @%s fib daddr type local jump refuse", hook, setClosed)
	}
	return b.String()
}

// priority of the chains: see body.
const priority = -150
