// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
)

// Status returns the status of every Gateway and NodePool that exists.
func Status(in fleet.Cluster) (Plan, error) {
	w, err := arrange(in)
	if err != nil {
		return Plan{}, err
	}
	var p Plan
	for _, d := range w.domains {
		if !d.exists {
			continue
		}
		if err := p.add(w.gatewayStatus(d), "status"); err != nil {
			return Plan{}, err
		}
	}
	counts := map[string]*appsv1beta2.NodePool{}
	for _, pool := range in.Pools {
		counts[pool.Name] = &appsv1beta2.NodePool{
			TypeMeta:   metav1.TypeMeta{APIVersion: appsv1beta2.GroupVersion.String(), Kind: "NodePool"},
			ObjectMeta: metav1.ObjectMeta{Name: pool.Name},
		}
	}
	for _, n := range in.Nodes {
		s := counts[poolOf(n)]
		if s == nil {
			continue
		}
		s.Status.Nodes = append(s.Status.Nodes, n.Name)
		if isReady(n) {
			s.Status.ReadyNodeNum++
		} else {
			s.Status.UnreadyNodeNum++
		}
	}
	pools := slices.Clone(in.Pools)
	slices.SortFunc(pools, func(a, b *appsv1beta2.NodePool) int { return cmp.Compare(a.Name, b.Name) })
	for _, pool := range pools {
		slices.Sort(counts[pool.Name].Status.Nodes)
		if err := p.add(counts[pool.Name], "status"); err != nil {
			return Plan{}, err
		}
	}
	return p, nil
}

func (w *world) gatewayStatus(d *domain) *ravenv1beta1.Gateway {
	s := &ravenv1beta1.Gateway{
		TypeMeta:   metav1.TypeMeta{APIVersion: ravenv1beta1.GroupVersion.String(), Kind: "Gateway"},
		ObjectMeta: metav1.ObjectMeta{Name: d.name},
	}
	tunnel := w.elect(d, ravenv1beta1.Tunnel)
	s.Status.ActiveEndpoints = slices.Clone(tunnel.active)
	s.Status.ActiveEndpoints = append(s.Status.ActiveEndpoints, w.elect(d, ravenv1beta1.Proxy).active...)
	for i := range s.Status.ActiveEndpoints {
		e := &s.Status.ActiveEndpoints[i]
		e.Type = kindOf(*e) // the schema wants it
	}
	for _, n := range d.nodes {
		info := ravenv1beta1.NodeInfo{
			NodeName:  n.Name,
			PrivateIP: address(n, corev1.NodeInternalIP),
			Subnets:   append([]string{}, w.owned[n.Name]...),
		}
		if len(tunnel.active) > 0 && tunnel.active[0].NodeName == n.Name {
			info.Subnets = append(info.Subnets, w.extra[d.name]...)
		}
		s.Status.Nodes = append(s.Status.Nodes, info)
	}
	slices.SortFunc(s.Status.Nodes, func(a, b ravenv1beta1.NodeInfo) int { return cmp.Compare(a.NodeName, b.NodeName) })
	return s
}
