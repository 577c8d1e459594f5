// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/fleet"
)

// Place is where one node belongs.
type Place struct {
	Node   string
	Pool   string // "" if it is in none
	Domain string // name of the Gateway that stands for it
	// Edge is true outside the cloud.
	Edge bool
	// Named is true if the node's label raven.openyurt.io/gateway names the
	// domain, and not our rule.
	Named bool
	// Private is true if the node or its pool is on a private line.
	Private bool
}

// Places says where each node belongs, sorted by node.
func Places(in fleet.Cluster) []Place {
	pools := make(map[string]*appsv1beta2.NodePool, len(in.Pools))
	for _, p := range in.Pools {
		pools[p.Name] = p
	}
	inUse := map[string]bool{} // pool names, with or without a NodePool
	for name := range pools {
		inUse[name] = true
	}
	for _, n := range in.Nodes {
		inUse[poolOf(n)] = true
	}
	out := make([]Place, 0, len(in.Nodes))
	for _, n := range in.Nodes {
		out = append(out, place(n, pools[poolOf(n)], inUse))
	}
	slices.SortFunc(out, func(a, b Place) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

func place(n *corev1.Node, pool *appsv1beta2.NodePool, inUse map[string]bool) Place {
	p := Place{Node: n.Name, Pool: poolOf(n)}
	p.Edge = isEdge(n, pool)
	p.Private = n.Labels[api.LabelInterconnection] == api.InterconnectionPrivate || isPrivate(pool)
	named := n.Labels[api.LabelGateway]
	switch {
	case named != "":
		p.Domain, p.Named = named, true
	case !p.Edge:
		p.Domain = api.GatewayCloud
	case p.Pool != "":
		p.Domain = domainOfPool(p.Pool)
	case inUse[n.Name]:
		// A node may bear the name of a pool that stands elsewhere.
		p.Domain = api.GatewayPrefix + "node-" + n.Name
	default:
		p.Domain = domainOfPool(n.Name)
	}
	return p
}

// domainOfPool names the domain of an edge pool. An edge pool called "cloud"
// must not fall into the cloud domain.
func domainOfPool(pool string) string {
	if name := api.GatewayPrefix + pool; name != api.GatewayCloud {
		return name
	}
	return api.GatewayPrefix + "edge-" + pool
}

// poolOf returns the name of the pool the node's labels name.
func poolOf(n *corev1.Node) string {
	return cmp.Or(n.Labels[api.LabelPool], n.Labels[api.LabelPoolACK])
}

// isEdge asks the pool first, then the node: a NodePool is written by an
// operator, a node's labels by whatever joined it.
func isEdge(n *corev1.Node, pool *appsv1beta2.NodePool) bool {
	if pool != nil {
		return pool.Spec.Type != appsv1beta2.Cloud
	}
	if t := n.Labels[api.LabelPoolType]; t != "" {
		return strings.EqualFold(t, appsv1beta2.Edge)
	}
	return n.Labels[api.LabelEdgeWorker] == "true" || n.Labels[api.LabelEdgeWorkerACK] == "true"
}

func isPrivate(pool *appsv1beta2.NodePool) bool {
	if pool == nil {
		return false
	}
	return pool.Annotations[api.LabelInterconnection] == api.InterconnectionPrivate ||
		pool.Spec.Annotations[api.LabelInterconnection] == api.InterconnectionPrivate ||
		pool.Spec.Labels[api.LabelInterconnection] == api.InterconnectionPrivate
}
