// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/magpie-edge/magpie/topology"
)

// Place says where the node stands. It is called before anything that depends
// on it is shown, and again whenever a node or a pool may have moved; PoolOf
// must go on giving the same answers afterwards. Everything affected is
// filtered again before it returns.
func (s *Store) Place(p topology.Place) {
	s.mu.Lock()
	defer s.unlock()
	own := !s.placed || p.Node != s.place.Node || p.Pool != s.place.Pool
	moved := s.move(p)
	if s.placed && (own || len(moved) > 0) {
		for _, k := range Kinds() {
			s.review(s.shelves[k], own, moved)
		}
	}
	s.placed = true
	s.settle()
}

// move goes to another place and returns the nodes that have come to its pool
// or left it, of those that were ever asked for.
func (s *Store) move(p topology.Place) map[string]bool {
	s.poolOf = p.PoolOf
	moved := map[string]bool{}
	for node, was := range s.pools {
		now := s.ask(node)
		s.pools[node] = now
		if now != was && (now == p.Pool || was == p.Pool) {
			moved[node] = true
		}
	}
	p.PoolOf = func(node string) string {
		pool, ok := s.pools[node]
		if !ok {
			pool = s.ask(node)
			s.pools[node] = pool
		}
		return pool
	}
	s.place = p
	return moved
}

// ask asks who knows. A fleet looks through its nodes for each answer, so every
// node is asked for once a place, not once an endpoint.
func (s *Store) ask(node string) string {
	if s.poolOf == nil {
		return ""
	}
	return s.poolOf(node)
}

// review shows the objects of a kind anew that a move concerns: all of them if
// this node has moved itself, otherwise those with an endpoint that has.
func (s *Store) review(sh *shelf, own bool, moved map[string]bool) {
	if !sh.isReady || sh.kind == Nodes {
		return
	}
	var concerned []key
	for k, e := range sh.objects {
		if own || s.concerns(e.truth, moved) {
			concerned = append(concerned, k)
		}
	}
	slices.SortFunc(concerned, key.compare)
	for _, k := range concerned {
		s.show(sh, sh.objects[k])
	}
}

// concerns reports whether an object has an endpoint on one of the nodes and is
// for its pool only.
func (s *Store) concerns(o Object, nodes map[string]bool) bool {
	moved := func(node *string) bool { return node != nil && nodes[*node] }
	switch o := o.(type) {
	case *discoveryv1.EndpointSlice:
		svc, _ := serviceOf(o)
		reach, _ := s.reach(svc)
		return reach == topology.ReachPool &&
			slices.ContainsFunc(o.Endpoints, func(e discoveryv1.Endpoint) bool { return moved(e.NodeName) })
	case *corev1.Endpoints: //nolint:staticcheck // old clients read Endpoints
		reach, _ := s.reach(keyOf(o))
		far := func(a corev1.EndpointAddress) bool { return moved(a.NodeName) }
		return reach == topology.ReachPool && slices.ContainsFunc(o.Subsets, func(sub corev1.EndpointSubset) bool { //nolint:staticcheck // as above
			return slices.ContainsFunc(sub.Addresses, far) || slices.ContainsFunc(sub.NotReadyAddresses, far)
		})
	}
	return false
}
