// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Members returns what pools give their nodes: for each node of a NodePool a
// Node with the pool's labels, annotations and taints, and with the record of
// what was given and what of the node's own it hides. A node that is not here
// has nothing of a pool.
//
// Labels and annotations of the pool win over the node's own, as OpenYurt
// documents; the node's own come back when the pool's go. Taints are added: a
// taint of the node's own with the same key and effect stays.
func Members(in fleet.Cluster) (Plan, error) {
	var p Plan
	pools := make(map[string]gift, len(in.Pools))
	for _, pool := range slices.SortedFunc(slices.Values(in.Pools), func(a, b *appsv1beta2.NodePool) int { return cmp.Compare(a.Name, b.Name) }) {
		g, notes, err := giftOf(pool)
		if err != nil {
			return Plan{}, err
		}
		pools[pool.Name] = g
		p.Notes = append(p.Notes, notes...)
	}
	nodes := slices.SortedFunc(slices.Values(in.Nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range nodes {
		g, in := pools[poolOf(n)]
		given, err := fleet.GivenTo(n)
		if err != nil {
			p.Notes = append(p.Notes, plan.Note{
				Subject: "node " + n.Name, Code: NotePoolRecord,
				Text: err.Error() + "; what a pool gave the node before stays there",
			})
		}
		if !in {
			continue
		}
		m, notes, err := g.member(n, given)
		if err != nil {
			return Plan{}, err
		}
		if err := p.add(m, ""); err != nil {
			return Plan{}, err
		}
		p.Notes = append(p.Notes, notes...)
	}
	return p, nil
}

// gift is what one pool gives each of its nodes.
type gift struct {
	pool string
	// fixed are the labels that say what the pool is. A value they replace is
	// an older truth, and does not come back.
	fixed map[string]string
	// spec is what the pool says, good or not: OpenYurt's manager, which may work
	// beside us, writes every node on which it does not find that.
	spec string
	fleet.Attributes
}

// member is the node with what the pool gives it.
func (g gift) member(n *corev1.Node, given fleet.PoolRecord) (map[string]any, []plan.Note, error) {
	var notes []plan.Note
	clash := func(format string, args ...any) {
		notes = append(notes, plan.Note{Subject: "node " + n.Name, Code: NotePoolClash, Text: fmt.Sprintf(format, args...)})
	}
	own := fleet.Attributes{
		Labels:      hidden(g.Labels, n.Labels, given.Given.Labels, given.Own.Labels),
		Annotations: hidden(g.Annotations, n.Annotations, given.Given.Annotations, given.Own.Annotations),
	}
	for _, k := range slices.Sorted(maps.Keys(own.Labels)) {
		if own.Labels[k] != g.Labels[k] {
			clash("label %s is %q by pool %s and not %q, as the node itself has it", k, g.Labels[k], g.pool, own.Labels[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(own.Annotations)) {
		if own.Annotations[k] != g.Annotations[k] {
			clash("annotation %s is that of pool %s and not the node's own", k, g.pool)
		}
	}
	record := fleet.Attributes{Labels: maps.Clone(g.Labels), Annotations: g.Annotations}
	maps.Copy(record.Labels, g.fixed)
	record.Taints = g.taints(n, given, clash)
	m, err := g.applied(n.Name, fleet.PoolRecord{Given: record, Own: own})
	return m, notes, err
}

// taints returns those of the pool that the node gets: a taint of its own with
// the same key and effect stays instead.
func (g gift) taints(n *corev1.Node, given fleet.PoolRecord, clash func(string, ...any)) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range g.Taints {
		like := func(x corev1.Taint) bool { return x.Key == t.Key && x.Effect == t.Effect }
		i := slices.IndexFunc(n.Spec.Taints, like)
		if i < 0 || slices.ContainsFunc(given.Given.Taints, like) {
			out = append(out, t)
			continue
		}
		if now := n.Spec.Taints[i].Value; now != t.Value {
			clash("taint %s:%s stays %q, the node's own, and is not %q, as pool %s has it", t.Key, t.Effect, now, t.Value, g.pool)
		}
	}
	return out
}

// hidden returns the node's own values under the keys that the pool gives.
func hidden(gives, live, given, own map[string]string) map[string]string {
	out := map[string]string{}
	for k := range gives {
		now, there := live[k]
		_, ours := given[k]
		was, had := own[k]
		switch {
		case !there: // somebody has removed it: there is nothing of its own
		case !ours:
			out[k] = now
		case had:
			out[k] = was
		}
	}
	if len(out) == 0 {
		return nil // no empty part in the record
	}
	return out
}

// applied is the part of the Node that is the pool's: what it gives, and the
// records.
func (g gift) applied(node string, record fleet.PoolRecord) (map[string]any, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode what node %s is given: %w", node, err)
	}
	out := record.Given
	out.Annotations = maps.Clone(out.Annotations)
	out.Annotations[api.AnnotationPrevious], out.Annotations[api.AnnotationPoolRecord] = g.spec, string(text)
	return out.On(node), nil
}
