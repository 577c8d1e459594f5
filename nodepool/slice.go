// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Slices returns the DomainSlices. vni is that of the overlay: a node of
// another one is listed without a VTEP MAC.
func Slices(in fleet.Cluster, vni int) (Plan, error) {
	w, err := arrange(in)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Notes: w.notes}
	for _, d := range w.domains {
		gateways, notes := w.sliceGateways(d)
		tunnels, more := w.sliceTunnels(d)
		p.Notes = append(append(p.Notes, notes...), more...)
		if len(d.nodes) == 0 {
			continue // no CIDR to reach and nobody to tell
		}
		for i, nodes := range w.deal(d) {
			if len(nodes) == 0 && i > 0 {
				continue
			}
			s := d.slice(i)
			for _, n := range nodes {
				sn, notes := sliceNode(n, w.places[n.Name], vni)
				sn.PodCIDRs = w.owned[n.Name]
				s.Spec.Nodes = append(s.Spec.Nodes, sn)
				p.Notes = append(p.Notes, notes...)
			}
			if i == 0 {
				s.Spec.Gateways, s.Spec.ExtraCIDRs, s.Spec.Tunnels = gateways, w.extra[d.name], tunnels
			}
			if err := p.add(s, ""); err != nil {
				return Plan{}, err
			}
		}
	}
	sortNotes(p.Notes)
	return p, nil
}

func (d *domain) slice(i int) *v1alpha1.DomainSlice {
	return &v1alpha1.DomainSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "DomainSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name:   d.name + "-" + strconv.Itoa(i),
			Labels: map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelDomain: d.label()},
		},
		Spec: v1alpha1.DomainSliceSpec{Domain: d.name, Cloud: d.cloud, Private: d.private},
	}
}

// label is the domain's name as a label value; object names may be longer.
func (d *domain) label() string { return strings.TrimRight(d.name[:min(len(d.name), 63)], "-.") }

// deal gives each node of the domain its slice. A node stays in the slice it
// is in and keeps its place there; a new one goes to the first slice with room.
// So one node that joins or leaves rewrites one slice.
func (w *world) deal(d *domain) [][]*corev1.Node {
	dealt := map[string]bool{}
	var hands [][]*corev1.Node
	for i, names := range w.dealtBefore(d.name) {
		hands = append(hands, nil)
		for _, name := range names {
			n := d.node(name)
			if n == nil || dealt[name] || len(hands[i]) == v1alpha1.NodesPerSlice {
				continue
			}
			dealt[name] = true
			hands[i] = append(hands[i], n)
		}
	}
	i := 0
	for _, n := range d.nodes {
		if dealt[n.Name] {
			continue
		}
		for i < len(hands) && len(hands[i]) >= v1alpha1.NodesPerSlice {
			i++
		}
		if i == len(hands) {
			hands = append(hands, nil)
		}
		hands[i] = append(hands[i], n)
	}
	return hands
}

// dealtBefore returns the names of the nodes in each slice of the domain that
// exists, by the number at the end of the slice's name.
func (w *world) dealtBefore(name string) [][]string {
	var out [][]string
	for _, s := range w.in.Slices {
		digits, ok := strings.CutPrefix(s.Name, name+"-")
		if !ok || s.Spec.Domain != name {
			continue
		}
		i, err := strconv.Atoi(digits)
		if err != nil || i < 0 || i > len(w.in.Nodes)+len(w.in.Slices) || strconv.Itoa(i) != digits {
			continue // nobody's: Slices does not want it, so it goes
		}
		for len(out) <= i {
			out = append(out, nil)
		}
		for _, n := range s.Spec.Nodes {
			out[i] = append(out[i], n.Name)
		}
	}
	return out
}

func sortNotes(notes []plan.Note) {
	slices.SortFunc(notes, func(a, b plan.Note) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
}
