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
// filtered again before it returns. The node is Options.Node whatever p says.
func (s *Store) Place(p topology.Place) {
	s.mu.Lock()
	defer s.unlock()
	p.Node = s.o.Node
	fences := p.Pool != s.place.Pool // they look at nothing else
	unasked := s.place.Pool == ""    // who is in no pool asks for nobody's
	moved := s.move(p)
	if s.placed && fences {
		s.review(s.shelves[Services], func(Object) bool { return true })
	}
	if s.placed && (fences && unasked || len(moved) > 0) {
		concerned := func(o Object) bool { return unasked || s.concerned(o, moved) }
		s.review(s.shelves[EndpointSlices], concerned)
		s.review(s.shelves[Endpoints], concerned)
	}
	s.placed = true
	s.settle()
}

// move goes to another place and returns the nodes that are in this node's pool
// now and were not before, or the other way round, whoever of the two has moved.
func (s *Store) move(p topology.Place) map[string]bool {
	s.poolOf = p.PoolOf
	from, moved := s.place.Pool, map[string]bool{}
	for node, was := range s.pools {
		now := s.ask(node)
		s.pools[node] = now
		if (was == from && from != "") != (now == p.Pool && p.Pool != "") {
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

// review shows the objects of a kind anew that a move concerns.
func (s *Store) review(sh *shelf, concerned func(Object) bool) {
	var keys []key
	for k, e := range sh.objects {
		if concerned(e.truth) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, key.compare)
	for _, k := range keys {
		s.show(sh, sh.objects[k])
	}
}

// concerned reports whether an object has an endpoint on one of the nodes and
// is for a pool only.
func (s *Store) concerned(o Object, nodes map[string]bool) bool {
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
