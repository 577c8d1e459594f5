// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/plan"
)

// claim is one CIDR that a node has.
type claim struct {
	node   string
	rank   int // 0 is the oldest node
	prefix netip.Prefix
}

// ownCIDRs returns the pod CIDRs of each node. Where two overlap the older node
// keeps its own: kubelet may propose a podCIDR for a Node that it creates, and
// a node that joins must not draw the traffic of another.
func (w *world) ownCIDRs() (map[string][]string, []plan.Note) {
	var claims []claim
	var notes []plan.Note
	for rank, n := range oldestFirst(w.in.Nodes) {
		for _, text := range podCIDRs(n) {
			p, err := netip.ParsePrefix(text)
			if err == nil {
				err = unfit(p)
			}
			if err != nil {
				notes = append(notes, noteOf("node "+n.Name, NoteBadCIDR, "pod CIDR "+text+" is not used: "+err.Error()))
				continue
			}
			claims = append(claims, claim{n.Name, rank, p.Masked()})
		}
	}
	kept, lost := settle(claims)
	for _, l := range lost {
		notes = append(notes, noteOf("node "+l.loser.node, NoteCIDROverlap,
			"pod CIDR "+l.loser.prefix.String()+" overlaps with "+l.winner.prefix.String()+" of the older node "+
				l.winner.node+" and is not used: delete the Node and let it join again"))
	}
	out := map[string][]string{}
	for _, c := range kept {
		out[c.node] = append(out[c.node], c.prefix.String())
	}
	for _, list := range out { // IPv4 first, as Node.spec.podCIDRs mostly has it
		slices.SortFunc(list, func(a, b string) int {
			return cmp.Compare(strings.Count(a, ":"), strings.Count(b, ":"))
		})
	}
	return out, notes
}

type dispute struct{ winner, loser claim }

// settle walks the claims in the order of their addresses: two prefixes
// overlap only if one holds the other, and then nothing but further prefixes
// that overlap with it lies between them.
func settle(claims []claim) (kept []claim, lost []dispute) {
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()),
			cmp.Compare(a.rank, b.rank))
	})
	for _, c := range claims {
		if len(kept) == 0 || !kept[len(kept)-1].prefix.Overlaps(c.prefix) {
			kept = append(kept, c)
			continue
		}
		last := kept[len(kept)-1]
		switch {
		case last.node == c.node && last.prefix == c.prefix:
		case last.rank <= c.rank:
			lost = append(lost, dispute{winner: last, loser: c})
		default:
			lost = append(lost, dispute{winner: c, loser: last})
			kept[len(kept)-1] = c
		}
	}
	return kept, lost
}

// never are ranges that no domain may claim: this host, this link, everybody,
// and the metadata services that live on link-local addresses.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("100.100.100.200/32"), // metadata of Alibaba Cloud
	netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/127"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

type reason string

func (r reason) Error() string { return string(r) }

func unfit(p netip.Prefix) error {
	for _, n := range never {
		if n.Overlaps(p) {
			return reason("it overlaps with " + n.String() + ", which is never forwarded")
		}
	}
	return nil
}

// extraCIDRs reads what Gateways claim beside pod CIDRs, in an annotation. A
// range that holds the pods of any node is refused: it would draw them away.
// Of two domains that claim the same range the older Gateway's has it.
func (w *world) extraCIDRs(owned map[string][]string) (map[string][]string, []plan.Note) {
	taken := map[netip.Prefix]string{} // prefix -> who has it
	for node, list := range owned {
		for _, text := range list {
			taken[netip.MustParsePrefix(text)] = "node " + node
		}
	}
	domains := slices.DeleteFunc(slices.Clone(w.domains), func(d *domain) bool { return d.gateway == nil })
	slices.SortStableFunc(domains, func(a, b *domain) int {
		return a.gateway.CreationTimestamp.Compare(b.gateway.CreationTimestamp.Time)
	})
	out := map[string][]string{}
	var notes []plan.Note
	for _, d := range domains {
		for text := range strings.SplitSeq(d.gateway.Annotations[api.AnnotationExtraCIDRs], ",") {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			p, err := claimExtra(text, taken)
			if err != nil {
				notes = append(notes, noteOf("gateway "+d.name, NoteBadCIDR,
					"annotation "+api.AnnotationExtraCIDRs+": "+text+" is not used: "+err.Error()))
				continue
			}
			taken[p] = "domain " + d.name
			out[d.name] = append(out[d.name], p.String())
		}
	}
	return out, notes
}

func claimExtra(text string, taken map[netip.Prefix]string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, reason("it is not a CIDR")
	}
	if err := unfit(p); err != nil {
		return p, err
	}
	var clash []string // all of them, so that the least is the same in every round
	for q, who := range taken {
		if q.Overlaps(p) {
			clash = append(clash, "it overlaps with "+q.String()+" of "+who)
		}
	}
	if len(clash) > 0 {
		return p, reason(slices.Min(clash))
	}
	return p.Masked(), nil
}
