// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// NoteUnknownTopology is the code of the note on a Service whose
// openyurt.io/topologyKeys has a value that means nothing.
const NoteUnknownTopology = "unknown-topology"

// Reach is how far from the reader an endpoint may be.
type Reach string

// The reaches, by the values of openyurt.io/topologyKeys.
const (
	ReachAnywhere Reach = ""
	ReachNode     Reach = "kubernetes.io/hostname"
	ReachPool     Reach = "openyurt.io/nodepool"
	// ReachZone is what OpenYurt calls ReachPool as well: a pool is a zone.
	ReachZone Reach = "kubernetes.io/zone"
)

// ReachOf returns how far clients of the Service may reach. The annotation must
// be exactly one of the known values; any other pins nothing and returns a note
// that names it. The Service default/kubernetes is never pinned: its endpoints
// are control planes, which are on no node.
func ReachOf(svc *corev1.Service) (Reach, *plan.Note) {
	value, set := svc.Annotations[api.AnnotationTopology]
	if !set || (svc.Namespace == corev1.NamespaceDefault && svc.Name == "kubernetes") {
		return ReachAnywhere, nil
	}
	switch r := Reach(value); r {
	case ReachNode, ReachPool:
		return r, nil
	case ReachZone:
		return ReachPool, nil
	default:
		return ReachAnywhere, &plan.Note{
			Subject: "service " + svc.Namespace + "/" + svc.Name, Code: NoteUnknownTopology,
			Text: fmt.Sprintf("%s is %q, so its traffic goes anywhere; it must be exactly one of %s, %s, %s",
				api.AnnotationTopology, value, ReachNode, ReachPool, ReachZone),
		}
	}
}

// Place is where a reader stands.
type Place struct {
	Node string
	// Pool is "" for a node that is in none; to it, the pool is the node alone.
	Pool string
	// PoolOf returns the pool of any node, "" if it is in none or not known.
	PoolOf func(node string) string
}

// At returns the place of a node of the fleet.
func At(v fleet.View, node string) Place {
	poolOf := func(name string) string {
		n, _, _ := v.Node(name)
		return n.Pool
	}
	return Place{Node: node, Pool: poolOf(node), PoolOf: poolOf}
}

// reaches reports whether an endpoint on that node may be used from p. One on
// no node is nowhere, so a pinned Service has no use for it.
func (p Place) reaches(node *string, r Reach) bool {
	switch {
	case r == ReachAnywhere:
		return true
	case node == nil || *node == "":
		return false
	case *node == p.Node:
		return true
	default:
		return r == ReachPool && p.Pool != "" && p.PoolOf(*node) == p.Pool
	}
}

// Pin returns the slice with the endpoints that may be used from p. Their hints
// go: they say which zone should use an endpoint, and Pin has decided that more
// strictly. Readiness stays as it is: an endpoint that terminates is the
// reader's to judge.
func Pin(slice *discoveryv1.EndpointSlice, r Reach, p Place) *discoveryv1.EndpointSlice {
	if r == ReachAnywhere {
		return slice
	}
	out := slice.DeepCopy()
	out.Endpoints = slices.DeleteFunc(out.Endpoints, func(e discoveryv1.Endpoint) bool {
		return !p.reaches(e.NodeName, r)
	})
	for i := range out.Endpoints {
		out.Endpoints[i].Hints = nil
	}
	return out
}

// PinEndpoints is Pin for clients that still read Endpoints. A subset without
// any address left goes as a whole, as an API server would never write it.
func PinEndpoints(e *corev1.Endpoints, r Reach, p Place) *corev1.Endpoints { //nolint:staticcheck // old clients read Endpoints
	if r == ReachAnywhere {
		return e
	}
	out := e.DeepCopy()
	far := func(a corev1.EndpointAddress) bool { return !p.reaches(a.NodeName, r) }
	for i := range out.Subsets {
		s := &out.Subsets[i]
		s.Addresses = slices.DeleteFunc(s.Addresses, far)
		s.NotReadyAddresses = slices.DeleteFunc(s.NotReadyAddresses, far)
	}
	out.Subsets = slices.DeleteFunc(out.Subsets, func(s corev1.EndpointSubset) bool { //nolint:staticcheck // as above
		return len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0
	})
	return out
}
