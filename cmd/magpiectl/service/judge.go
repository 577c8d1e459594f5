// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/topology"
)

// judge says what is wrong, and what else narrows or ends what a client gets.
func (b *builder) judge() {
	svc := b.in.Service
	usable := slices.ContainsFunc(b.r.Endpoints, func(e Endpoint) bool { return e.Ready || e.Ending })
	if !usable && svc.Spec.Type != corev1.ServiceTypeExternalName {
		b.r.Problems = append(b.r.Problems, Problem{
			Code: "no-endpoint", Text: "no endpoint of the Service is ready, so nobody is served",
			Do: fmt.Sprintf("kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s; do its selector and the pods' labels agree?", svc.Namespace, svc.Name),
		})
	}
	if usable {
		b.unserved()
	}
	b.strangers()
	local := func(field string) {
		b.r.Hints = append(b.r.Hints, field+": Local narrows further: of what a node sees, kube-proxy uses what is on the node itself")
	}
	if p := svc.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		local("internalTrafficPolicy")
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		local("externalTrafficPolicy")
	}
	b.distribution()
	if slices.ContainsFunc(b.r.Endpoints, func(e Endpoint) bool { return e.Ending }) {
		b.r.Hints = append(b.r.Hints, "an endpoint ends: kube-proxy uses it only where a node sees none that is ready")
	}
	switch {
	case b.reach == topology.ReachAnywhere:
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		b.r.Hints = append(b.r.Hints, "an ExternalName Service has no endpoints, so "+api.AnnotationTopology+" does nothing")
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		b.r.Hints = append(b.r.Hints, "a headless Service is pinned by the DNS server that a client asks, so by where that stands")
	}
	if b.r.Fence.Value != nil && len(b.r.Fence.Ports) == 0 {
		b.r.Hints = append(b.r.Hints, api.AnnotationListen+" does nothing: the Service has no NodePort")
	}
}

// distribution says what becomes of a preference for near endpoints.
func (b *builder) distribution() {
	d := b.in.Service.Spec.TrafficDistribution
	switch {
	case d == nil:
	case b.reach == topology.ReachAnywhere:
		b.r.Hints = append(b.r.Hints, "trafficDistribution: "+*d+" narrows further: of what a node sees, kube-proxy uses what is near, if there is any")
	default:
		b.r.Hints = append(b.r.Hints, "trafficDistribution: "+*d+" has no effect: the pin decides, and more strictly")
	}
}

// unserved names the places that have nothing left. It may be meant so: a
// Service of one shop is no use to another.
func (b *builder) unserved() {
	var pools []string
	for _, p := range b.r.Pools {
		if p.Nodes > 0 && p.Ready+p.Ending == 0 {
			pools = append(pools, orNone(p.Name))
		}
	}
	if len(pools) > 0 {
		b.r.Hints = append(b.r.Hints, "nobody is served in "+few(pools)+": no ready endpoint is there")
	}
	if b.reach != topology.ReachNode {
		return
	}
	var nodes []string
	for _, n := range b.r.Nodes {
		if n.Ready+n.Ending == 0 && !slices.Contains(pools, orNone(n.Pool)) {
			nodes = append(nodes, n.Name)
		}
	}
	if len(nodes) > 0 {
		b.r.Hints = append(b.r.Hints, "nobody is served on "+few(nodes)+": no ready endpoint is there")
	}
}

// strangers names what nodeport.openyurt.io/listen names and nobody knows.
func (b *builder) strangers() {
	if b.r.Fence.Value == nil {
		return
	}
	var out []string
	for _, name := range Named(*b.r.Fence.Value) {
		if !slices.ContainsFunc(b.r.Pools, func(p Pool) bool { return p.Name == name }) {
			out = append(out, fmt.Sprintf("%q", name))
		}
	}
	if len(out) > 0 {
		b.r.Hints = append(b.r.Hints, api.AnnotationListen+" names "+few(out)+": there is no such pool, yet or by a typing mistake")
	}
}

// Named returns the pools that a value of nodeport.openyurt.io/listen names,
// each once.
func Named(value string) []string {
	var out []string
	for item := range strings.SplitSeq(value, ",") {
		name := strings.TrimPrefix(strings.TrimSpace(item), "-")
		if name != "" && name != "*" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func orNone(pool string) string {
	if pool == "" {
		return "(no pool)"
	}
	return pool
}

// few lists names, the first of many only.
func few(names []string) string {
	const most = 6
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}
