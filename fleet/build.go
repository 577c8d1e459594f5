// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
)

// ErrNoNode is returned by Build while the agent's own Node is not known.
var ErrNoNode = errors.New("own node is not known yet")

// Build turns what the API and the host say into a View. It is pure: equal
// inputs give equal Views. Values that do not parse are left out, because one
// bad address of one far node must not stop this one; the manager validates
// what it writes, and Problems says what was left out.
func Build(in Objects, host Host, settings Settings) (View, []string, error) {
	if in.Node == nil {
		return View{}, nil, ErrNoNode
	}
	b := builder{domains: map[string]*Domain{}}
	for _, s := range in.Slices {
		b.slice(s)
	}
	v := View{
		Domains:  b.sorted(),
		Settings: settings,
		ReadAt:   host.Now,
	}
	v.Self = b.self(in.Node, host)
	if _, d, ok := v.Node(in.Node.Name); ok {
		v.Self.Domain = d.Name
	}
	return v, b.problems, nil
}

type builder struct {
	domains  map[string]*Domain
	problems []string
}

func (b *builder) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

func (b *builder) slice(s v1alpha1.DomainSlice) {
	d := b.domains[s.Spec.Domain]
	if d == nil {
		d = &Domain{Name: s.Spec.Domain}
		b.domains[s.Spec.Domain] = d
	}
	d.Cloud = d.Cloud || s.Spec.Cloud
	d.Private = d.Private || s.Spec.Private
	for _, n := range s.Spec.Nodes {
		d.Nodes = append(d.Nodes, b.node(n))
	}
	for _, g := range s.Spec.Gateways {
		d.Gateways = append(d.Gateways, b.gateway(g))
	}
	d.Extra = append(d.Extra, b.prefixes(s.Spec.ExtraCIDRs, "domain "+s.Spec.Domain)...)
	for _, text := range s.Spec.Tunnels {
		if !isHostPort(text) {
			b.problem("domain %s: tunnel %q is not host:port", s.Spec.Domain, text)
			continue
		}
		d.Tunnels = append(d.Tunnels, text)
	}
}

// isHostPort accepts what Dial can: an address or a DNS name, and a port.
func isHostPort(text string) bool {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Port() != 0
	}
	host, port, ok := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	return ok && err == nil && n != 0 && len(validation.IsDNS1123Subdomain(host)) == 0
}

func (b *builder) node(n v1alpha1.SliceNode) Node {
	out := Node{
		Name:     n.Name,
		Pool:     n.Pool,
		PodCIDRs: b.prefixes(n.PodCIDRs, "node "+n.Name),
		VTEPMAC:  n.VTEPMAC,
		VTEPMAC6: n.VTEPMAC6,
	}
	for _, text := range n.Addresses {
		switch a, err := netip.ParseAddr(text); {
		case err != nil:
			b.problem("node %s: address %q: %v", n.Name, text, err)
		case a.Is4() && !out.Addr4.IsValid():
			out.Addr4 = a
		case a.Is6() && !out.Addr6.IsValid():
			out.Addr6 = a
		}
	}
	return out
}

func (b *builder) gateway(g v1alpha1.SliceGateway) Gateway {
	out := Gateway{Node: g.Node, PublicKey: g.PublicKey, Active: g.Active, MTU: int(g.MTU)}
	for _, text := range g.Endpoints {
		ep, err := netip.ParseAddrPort(text)
		if err != nil {
			b.problem("gateway %s: endpoint %q: %v", g.Node, text, err)
			continue
		}
		out.Endpoints = append(out.Endpoints, ep)
	}
	return out
}

func (b *builder) prefixes(texts []string, subject string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			b.problem("%s: CIDR %q: %v", subject, text, err)
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

// sorted drops what an overlapping pair of slices says twice: while the manager
// moves a node from one slice to another, both may hold it for a moment.
func (b *builder) sorted() []Domain {
	out := make([]Domain, 0, len(b.domains))
	for _, d := range b.domains {
		slices.SortStableFunc(d.Nodes, func(x, y Node) int { return cmp.Compare(x.Name, y.Name) })
		d.Nodes = slices.CompactFunc(d.Nodes, func(x, y Node) bool { return x.Name == y.Name })
		slices.SortStableFunc(d.Gateways, func(x, y Gateway) int { return cmp.Compare(x.Node, y.Node) })
		d.Gateways = slices.CompactFunc(d.Gateways, func(x, y Gateway) bool { return x.Node == y.Node })
		slices.Sort(d.Tunnels)
		d.Tunnels = slices.Compact(d.Tunnels)
		out = append(out, *d)
	}
	slices.SortFunc(out, func(x, y Domain) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

func (b *builder) self(node *corev1.Node, host Host) Self {
	s := Self{
		Node:      node.Name,
		PodCIDRs:  b.prefixes(node.Spec.PodCIDRs, "node "+node.Name),
		Underlay4: host.Underlay4,
		Underlay6: host.Underlay6,
		VTEPMAC:   cmp.Or(host.VTEPMAC, MAC(node.Name, "vxlan4")),
		VTEPMAC6:  cmp.Or(host.VTEPMAC6, MAC(node.Name, "vxlan6")),
		LinkKey:   host.LinkKey,
		Heard:     b.heard(host.Heard),
	}
	if len(s.PodCIDRs) == 0 && node.Spec.PodCIDR != "" {
		s.PodCIDRs = b.prefixes([]string{node.Spec.PodCIDR}, "node "+node.Name)
	}
	return s
}

// heard drops what is no gateway's key any more, or the list would only grow.
func (b *builder) heard(all []Heard) []Heard {
	current := map[string]bool{}
	for _, d := range b.domains {
		for _, g := range d.Gateways {
			current[g.PublicKey] = true
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(h Heard) bool { return !current[h.PublicKey] })
	slices.SortFunc(all, func(x, y Heard) int { return cmp.Compare(x.PublicKey, y.PublicKey) })
	return all
}

// MAC derives a locally administered unicast MAC from a node's name, so that a
// re-created device keeps its MAC and peers need not hear of a new one.
func MAC(node, purpose string) string {
	h := sha256.Sum256([]byte("magpie mac " + purpose + " " + node))
	h[0] = h[0]&^0x01 | 0x02 // unicast, locally administered: IEEE 802-2014 section 8.4
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4], h[5])
}
