// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
)

// everyPool is the item that stands for all pools.
const everyPool = "*"

// Listens reports whether nodes of a pool open the Service's NodePorts, by the
// annotation nodeport.openyurt.io/listen: a comma list of "pool", "-pool", "*"
// and "-*". A pool that is named is decided by the first item that names it;
// one that is not, by the first of "*" and "-*"; if there is neither, it does
// not listen. Without the annotation everybody listens, and so does a node in
// no pool (pool ""), whatever the annotation says.
func Listens(svc *corev1.Service, pool string) bool {
	list, set := svc.Annotations[api.AnnotationListen]
	if !set || pool == "" {
		return true
	}
	rest := false // what holds for pools that are not named
	restSaid := false
	for item := range strings.SplitSeq(list, ",") {
		name, no := strings.CutPrefix(strings.TrimSpace(item), "-")
		switch {
		case name == pool:
			return !no
		case name == everyPool && !restSaid:
			rest, restSaid = !no, true
		}
	}
	return rest
}

// Fence returns the Service as a node of that pool shall see it: itself, or a
// copy without its NodePorts. Everything else of it goes on working there:
// ClusterIP, external and load balancer addresses.
//
// A Service of type NodePort becomes one of type ClusterIP, and a LoadBalancer
// one that allocates no NodePorts: shapes that kube-proxy meets anyway, so it
// needs no knowledge of fences.
func Fence(svc *corev1.Service, pool string) *corev1.Service {
	if !opensNodePorts(svc) || Listens(svc, pool) {
		return svc
	}
	out := svc.DeepCopy()
	for i := range out.Spec.Ports {
		out.Spec.Ports[i].NodePort = 0
	}
	out.Spec.HealthCheckNodePort = 0
	if out.Spec.Type == corev1.ServiceTypeNodePort {
		out.Spec.Type = corev1.ServiceTypeClusterIP
		if len(out.Spec.ExternalIPs) == 0 { // a ClusterIP has a policy for external addresses only
			out.Spec.ExternalTrafficPolicy = ""
		}
		return out
	}
	no := false
	out.Spec.AllocateLoadBalancerNodePorts = &no
	return out
}

func opensNodePorts(svc *corev1.Service) bool {
	return svc.Spec.HealthCheckNodePort != 0 ||
		slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort != 0 })
}
