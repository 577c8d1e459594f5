// SPDX-License-Identifier: Apache-2.0

package service

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/magpie-edge/magpie/api"
	poolsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/topology"
)

// Input is what the API says.
type Input struct {
	Service *corev1.Service
	Slices  []discoveryv1.EndpointSlice
	Nodes   []corev1.Node
	Pools   []poolsv1beta2.NodePool
	// HubOff is why the nodes' readers do not go through a hub; "" if they do.
	HubOff string
	// FenceInNFTables is true if the agents close NodePorts in nftables, whatever
	// kube-proxy reads.
	FenceInNFTables bool
}

// Build says for each node and pool what it sees.
func Build(in Input) Report {
	svc := in.Service
	b := &builder{in: in, poolOf: map[string]string{}, ready: map[string]bool{}, ending: map[string]bool{}}
	b.r = Report{
		Problems: []Problem{}, Hints: []string{}, Namespace: svc.Namespace, Name: svc.Name, Type: typeOf(svc),
		Hub:   Hub{On: in.HubOff == "", Why: cmp.Or(in.HubOff, "kube-proxy and CoreDNS of each node read through its hub")},
		Fence: Fence{By: fenceBy(in), Ports: ports(svc)}, Endpoints: []Endpoint{}, Pools: []Pool{}, Nodes: []Node{},
	}
	for _, n := range in.Nodes {
		b.poolOf[n.Name] = cmp.Or(n.Labels[api.LabelPool], n.Labels[api.LabelPoolACK])
	}
	b.pin()
	b.endpoints()
	b.nodes()
	b.pools()
	b.judge()
	b.r.OK = len(b.r.Problems) == 0
	return b.r
}

type builder struct {
	in     Input
	r      Report
	reach  topology.Reach
	poolOf map[string]string
	ready  map[string]bool // by address
	ending map[string]bool // by address
}

func typeOf(svc *corev1.Service) string {
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		return "Headless"
	}
	return cmp.Or(string(svc.Spec.Type), string(corev1.ServiceTypeClusterIP))
}

// fenceBy says what closes NodePorts.
func fenceBy(in Input) string {
	switch {
	case in.FenceInNFTables:
		return FenceNFTables
	case in.HubOff == "":
		return FenceHub
	default:
		return FenceNone
	}
}

// ports are those that Fence would take away.
func ports(svc *corev1.Service) []int {
	out := []int{}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, int(p.NodePort))
		}
	}
	if p := svc.Spec.HealthCheckNodePort; p != 0 {
		out = append(out, int(p))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// pin reads both annotations.
func (b *builder) pin() {
	svc := b.in.Service
	if v, set := svc.Annotations[api.AnnotationListen]; set {
		b.r.Fence.Value = &v
	}
	value, set := svc.Annotations[api.AnnotationTopology]
	if set {
		b.r.Pin.Value = &value
	}
	reach, note := topology.ReachOf(svc)
	b.reach = reach
	switch {
	case note != nil:
		b.r.Pin.Reach, b.r.Pin.Why = "anywhere", fmt.Sprintf("%q is no value of %s", value, api.AnnotationTopology)
		b.r.Problems = append(b.r.Problems, Problem{
			Code: note.Code, Text: note.Text,
			Do: fmt.Sprintf("kubectl annotate service -n %s %s --overwrite %s=%s", svc.Namespace, svc.Name, api.AnnotationTopology, topology.ReachPool),
		})
	case reach == topology.ReachNode:
		b.r.Pin.Reach, b.r.Pin.Why = "node", "each node uses the endpoints on itself, never a far one"
	case reach == topology.ReachPool:
		b.r.Pin.Reach, b.r.Pin.Why = "pool", "each node uses the endpoints in its own pool, never a far one"
	case set:
		b.r.Pin.Reach, b.r.Pin.Why = "anywhere", "the endpoints of default/kubernetes are control planes, so it is never pinned"
	default:
		b.r.Pin.Reach, b.r.Pin.Why = "anywhere", "no annotation "+api.AnnotationTopology
	}
}

func (b *builder) endpoints() {
	for _, s := range b.in.Slices {
		for _, e := range s.Endpoints {
			b.endpoint(e)
		}
	}
	slices.SortFunc(b.r.Endpoints, func(x, y Endpoint) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Address, y.Address))
	})
	b.r.Endpoints = slices.CompactFunc(b.r.Endpoints, func(x, y Endpoint) bool { return x.Node == y.Node && x.Address == y.Address })
}

func (b *builder) endpoint(e discoveryv1.Endpoint) {
	out := Endpoint{Ready: isReady(e), Ending: isEnding(e)}
	if e.NodeName != nil {
		out.Node, out.Pool = *e.NodeName, b.poolOf[*e.NodeName]
	}
	if t := e.TargetRef; t != nil && t.Kind == "Pod" {
		out.Target = t.Namespace + "/" + t.Name
	}
	for _, a := range e.Addresses {
		b.ready[a] = b.ready[a] || out.Ready
		b.ending[a] = b.ending[a] || out.Ending
		out.Address = a
		b.r.Endpoints = append(b.r.Endpoints, out)
	}
}

// isReady takes an unknown state for ready, as the API says.
func isReady(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

// isEnding is true for what kube-proxy uses if nothing is ready.
func isEnding(e discoveryv1.Endpoint) bool {
	yes := func(p *bool) bool { return p != nil && *p }
	return !isReady(e) && yes(e.Conditions.Serving) && yes(e.Conditions.Terminating)
}

func (b *builder) nodes() {
	for _, n := range slices.SortedFunc(slices.Values(b.in.Nodes), func(x, y corev1.Node) int { return cmp.Compare(x.Name, y.Name) }) {
		pool := b.poolOf[n.Name]
		at := topology.Place{Node: n.Name, Pool: pool, PoolOf: func(node string) string { return b.poolOf[node] }}
		var sees []string
		for i := range b.in.Slices {
			for _, e := range topology.Pin(&b.in.Slices[i], b.reach, at).Endpoints {
				sees = append(sees, e.Addresses...)
			}
		}
		b.r.Nodes = append(b.r.Nodes, Node{Name: n.Name, Pool: pool, Seen: b.seen(sees, pool, "node "+n.Name)})
	}
}

// seen says what a place sees and whether it listens, and why.
func (b *builder) seen(sees []string, pool, place string) Seen {
	slices.Sort(sees)
	s := Seen{Sees: append([]string{}, slices.Compact(sees)...)}
	for _, a := range s.Sees {
		switch {
		case b.ready[a]:
			s.Ready++
		case b.ending[a]:
			s.Ending++
		}
	}
	where := "on this node"
	if b.reach == topology.ReachPool && pool != "" {
		where = "in pool " + pool
	}
	switch {
	case len(b.r.Endpoints) == 0:
		s.Why = "the Service has no endpoint"
	case b.reach == topology.ReachAnywhere:
		s.Why = b.r.Pin.Why
	case len(s.Sees) == 0:
		s.Why = "no endpoint is " + where + ", and a far one is never used"
	default:
		s.Why = "the endpoints " + where
	}
	if b.reach == topology.ReachPool && pool == "" {
		s.Why += ": " + place + " is in no pool, so its pool is the node alone"
	}
	if len(b.r.Fence.Ports) > 0 {
		s.Listens, s.ListensWhy = topology.Listens(b.in.Service, pool), Listening(b.r.Fence.Value, pool)
	} else {
		s.ListensWhy = "the Service has no NodePort"
	}
	return s
}

// Listening is why a pool does or does not listen by a value of
// nodeport.openyurt.io/listen, nil for none: the first word is "open" or
// "closed". A test holds it to topology.Listens.
func Listening(value *string, pool string) string {
	switch {
	case value == nil:
		return "open: no annotation " + api.AnnotationListen
	case pool == "":
		return "open: a node in no pool opens every NodePort"
	}
	rest := ""
	for item := range strings.SplitSeq(*value, ",") {
		item = strings.TrimSpace(item)
		name, no := strings.CutPrefix(item, "-")
		word := "open: "
		if no {
			word = "closed: "
		}
		if name == pool {
			return word + `the annotation has "` + item + `"`
		}
		if name == "*" && rest == "" {
			rest = word + `the annotation has "` + item + `" and does not name the pool`
		}
	}
	return cmp.Or(rest, "closed: the annotation does not name the pool")
}

func (b *builder) pools() {
	byName := map[string]*Pool{}
	for _, p := range b.in.Pools {
		byName[p.Name] = &Pool{Name: p.Name, Type: p.Spec.Type}
	}
	sees := map[string][]string{}
	for _, n := range b.r.Nodes {
		if byName[n.Pool] == nil {
			byName[n.Pool] = &Pool{Name: n.Pool}
		}
		byName[n.Pool].Nodes++
		sees[n.Pool] = append(sees[n.Pool], n.Sees...)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		p := byName[name]
		p.Seen = b.seen(sees[name], name, "each of these nodes")
		switch {
		case p.Nodes == 0:
			p.Why = "the pool has no node"
		case b.reach == topology.ReachNode && len(p.Sees) > 0:
			p.Why = "each node those on itself"
		case b.reach == topology.ReachNode && len(b.r.Endpoints) > 0:
			p.Why = "no endpoint is on any of its nodes, and a far one is never used"
		}
		b.r.Pools = append(b.r.Pools, *p)
	}
}
