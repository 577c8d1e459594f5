// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// domain is one network domain while a planner works on it.
type domain struct {
	name    string
	cloud   bool
	private bool
	// ruled is true if the domain follows from our rule and so gets a Gateway.
	ruled bool
	nodes []*corev1.Node // oldest first: the order of joining
	names map[string]*corev1.Node
	// gateway as it is, or as it will be when Gateways has written it; nil if a
	// label names one that nobody wrote.
	gateway *ravenv1beta1.Gateway
	exists  bool // gateway is in the API
	// made is what Gateways writes; nil where it must not write.
	made *ravenv1beta1.Gateway
}

// world is a fleet.Cluster put in order; every planner begins with it.
type world struct {
	in      fleet.Cluster
	places  map[string]Place
	reports map[string]*v1alpha1.LinkReport
	domains []*domain           // sorted by name
	owned   map[string][]string // pod CIDRs by node
	extra   map[string][]string // further CIDRs by domain
	notes   []plan.Note         // about both
}

func arrange(in fleet.Cluster) (*world, error) {
	w := &world{in: in, places: map[string]Place{}, reports: map[string]*v1alpha1.LinkReport{}}
	for _, p := range Places(in) {
		w.places[p.Node] = p
	}
	for _, r := range in.Reports {
		w.reports[r.Name] = r
	}
	byName := w.collect()
	w.domains = slices.SortedFunc(maps.Values(byName), func(a, b *domain) int { return cmp.Compare(a.name, b.name) })
	for _, d := range w.domains {
		if !d.ruled || d.gateway != nil && !Ours(d.gateway) {
			continue
		}
		if err := w.adopt(d); err != nil {
			return nil, err
		}
	}
	var more []plan.Note
	w.owned, w.notes = w.ownCIDRs()
	w.extra, more = w.extraCIDRs(w.owned)
	w.notes = append(w.notes, more...)
	return w, nil
}

// adopt gives the domain the Gateway that we make for it. What others wrote
// beside the spec stays: the status that the election must remember, and
// annotations.
func (w *world) adopt(d *domain) error {
	made, err := w.makeGateway(d)
	if err != nil {
		return err
	}
	d.made = made
	merged := *made
	if d.gateway != nil {
		merged.ObjectMeta, merged.Status = d.gateway.ObjectMeta, d.gateway.Status
	}
	d.gateway = &merged
	return nil
}

// collect makes the domains that nodes, pools and Gateways speak of.
func (w *world) collect() map[string]*domain {
	byName := map[string]*domain{}
	get := func(name string) *domain {
		if byName[name] == nil {
			byName[name] = &domain{name: name, cloud: true, names: map[string]*corev1.Node{}}
		}
		return byName[name]
	}
	for _, p := range w.in.Pools {
		if p.Spec.Type == appsv1beta2.Cloud {
			get(api.GatewayCloud).ruled = true
			continue
		}
		d := get(domainOfPool(p.Name))
		d.ruled, d.cloud = true, false
	}
	for _, n := range oldestFirst(w.in.Nodes) {
		p := w.places[n.Name]
		d := get(p.Domain)
		d.nodes = append(d.nodes, n)
		d.names[n.Name] = n
		d.ruled = d.ruled || !p.Named
		d.cloud = d.cloud && !p.Edge
		d.private = d.private || p.Private
	}
	for _, g := range w.in.Gateways {
		d := get(g.Name)
		d.gateway, d.exists = g, true
	}
	for _, d := range byName {
		d.cloud = d.name == api.GatewayCloud || d.cloud && d.dialled()
	}
	return byName
}

// dialled reports whether others may dial the domain: a domain that only a
// label names is a cloud if none of its nodes is an edge node and its Gateway
// is not behind NAT.
func (d *domain) dialled() bool {
	return len(d.nodes) > 0 && d.gateway != nil &&
		slices.ContainsFunc(d.gateway.Spec.Endpoints, func(e ravenv1beta1.Endpoint) bool { return !e.UnderNAT })
}

func oldestFirst(nodes []*corev1.Node) []*corev1.Node {
	out := slices.Clone(nodes)
	slices.SortFunc(out, func(a, b *corev1.Node) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// on reports one of the two switches of ConfigMap raven-cfg; absent means on.
func (w *world) on(key string) bool { return w.in.RavenConfig[key] != "false" }

// hasKey reports that the node runs our agent and has published its link key.
func (w *world) hasKey(node string) bool {
	r := w.reports[node]
	return r != nil && r.Spec.PublicKey != ""
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (d *domain) node(name string) *corev1.Node { return d.names[name] }
