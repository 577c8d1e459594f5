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

// gatewayStatus is Gateway.status with every list written out: an empty list
// we own says "none", an absent one would leave what stood there.
type gatewayStatus struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        named `json:"metadata"`
	Status          struct {
		Nodes           []ravenv1beta1.NodeInfo `json:"nodes"`
		ActiveEndpoints []ravenv1beta1.Endpoint `json:"activeEndpoints"`
	} `json:"status"`
}

type poolStatus struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        named `json:"metadata"`
	Status          struct {
		ReadyNodeNum   int32    `json:"readyNodeNum"`
		UnreadyNodeNum int32    `json:"unreadyNodeNum"`
		Nodes          []string `json:"nodes"`
	} `json:"status"`
}

type named struct {
	Name string `json:"name"`
}

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
	counts := map[string]*poolStatus{}
	for _, pool := range in.Pools {
		s := &poolStatus{
			TypeMeta: metav1.TypeMeta{APIVersion: appsv1beta2.GroupVersion.String(), Kind: "NodePool"},
			Metadata: named{pool.Name},
		}
		s.Status.Nodes = []string{}
		counts[pool.Name] = s
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

func (w *world) gatewayStatus(d *domain) gatewayStatus {
	s := gatewayStatus{
		TypeMeta: metav1.TypeMeta{APIVersion: ravenv1beta1.GroupVersion.String(), Kind: "Gateway"},
		Metadata: named{d.name},
	}
	tunnel := w.elect(d, ravenv1beta1.Tunnel)
	s.Status.ActiveEndpoints = append([]ravenv1beta1.Endpoint{}, tunnel.active...)
	s.Status.ActiveEndpoints = append(s.Status.ActiveEndpoints, w.elect(d, ravenv1beta1.Proxy).active...)
	for i := range s.Status.ActiveEndpoints {
		e := &s.Status.ActiveEndpoints[i]
		e.Type = kindOf(*e) // the schema wants it
	}
	extra, _ := w.extraCIDRs(d)
	s.Status.Nodes = []ravenv1beta1.NodeInfo{}
	for _, n := range d.nodes {
		info := ravenv1beta1.NodeInfo{
			NodeName:  n.Name,
			PrivateIP: address(n, corev1.NodeInternalIP),
			Subnets:   append([]string{}, podCIDRs(n)...),
		}
		if len(tunnel.active) > 0 && tunnel.active[0].NodeName == n.Name {
			info.Subnets = append(info.Subnets, extra...)
		}
		s.Status.Nodes = append(s.Status.Nodes, info)
	}
	slices.SortFunc(s.Status.Nodes, func(a, b ravenv1beta1.NodeInfo) int { return cmp.Compare(a.NodeName, b.NodeName) })
	return s
}
