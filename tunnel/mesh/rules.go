// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// neverCarried are the destinations that a link must not reach, whatever a
// misconfigured CIDR may cover.
var neverCarried = []string{
	"127.0.0.0/8",        // loopback
	"169.254.0.0/16",     // link-local; metadata of most clouds
	"100.100.100.200/32", // metadata of Alibaba Cloud
	"224.0.0.0/4",        // multicast
}

var neverCarried6 = []string{
	"::1/128",   // loopback
	"fe80::/10", // link-local
	"ff00::/8",  // multicast
}

// firewall plans two things. In prerouting, before anything can be rewritten:
// what comes in by a link may go to pods of the cluster and nowhere else. In
// forward: TCP learns the MTU of the route it takes, in both directions,
// because many a firewall drops the ICMP that would tell it later. Every packet
// of the host passes both hooks, so the first rule of either lets go of those
// that are not meant.
func (m *mesh) firewall() {
	dev := api.DeviceMesh
	var b strings.Builder
	set := func(name, kind string, elems []string) {
		fmt.Fprintf(&b, "add set %s { type %s ; flags interval ; }\n", name, kind)
		if len(elems) > 0 {
			fmt.Fprintf(&b, "add element %s { %s }\n", name, strings.Join(elems, ", "))
		}
	}
	pods4, pods6 := podRanges(m.view)
	set("pods4", "ipv4_addr", pods4)
	set("pods6", "ipv6_addr", pods6)
	set("never4", "ipv4_addr", neverCarried)
	set("never6", "ipv6_addr", neverCarried6)
	b.WriteString("add chain ingress { type filter hook prerouting priority -300 ; }\n")
	fmt.Fprintf(&b, "add rule ingress iifname != %q return\n", dev)
	for _, f := range []struct{ word, n string }{{"ip", "4"}, {"ip6", "6"}} {
		fmt.Fprintf(&b, "add rule ingress %s daddr @never%s drop\n", f.word, f.n)
		fmt.Fprintf(&b, "add rule ingress %s daddr != @pods%s drop\n", f.word, f.n)
	}
	b.WriteString("add chain clamp\n")
	for _, way := range []string{"iifname", "oifname"} {
		fmt.Fprintf(&b, "add rule clamp %s %q tcp option maxseg size set rt mtu\n", way, dev)
	}
	b.WriteString("add chain forward { type filter hook forward priority -150 ; }\n")
	b.WriteString("add rule forward tcp flags & (syn | rst) == syn jump clamp\n")
	m.plan.Tables = append(m.plan.Tables, plan.Table{
		Family: "inet", Name: api.TablePrefix + Owner.Name, Body: b.String(),
	})
}

// podRanges returns every CIDR a packet from a link may be for: the cluster's
// ranges and what domains own beside them.
func podRanges(v fleet.View) (four, six []string) {
	all := slices.Clone(v.Settings.ClusterCIDRs)
	for _, d := range v.Domains {
		all = append(all, d.Extra...)
	}
	for _, p := range merged(all) {
		if p.Addr().Is6() {
			six = append(six, p.String())
		} else {
			four = append(four, p.String())
		}
	}
	return four, six
}

// merged sorts prefixes and drops those that another one covers: an interval
// set refuses elements that overlap.
func merged(ps []netip.Prefix) []netip.Prefix {
	slices.SortFunc(ps, netip.Prefix.Compare)
	var out []netip.Prefix
	for _, p := range ps {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
	}
	return out
}
