// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
)

// maxCandidates bounds how many nodes of a domain may become gateways by our
// rule: two may fail, and every candidate is a peer of all other sites. Who
// wants another number writes the Gateway.
const maxCandidates = 3

// Gateways returns the Gateways that we make: one for each domain that follows
// from our rule and that nobody else wrote one for.
func Gateways(in fleet.Cluster) (Plan, error) {
	w, err := arrange(in)
	if err != nil {
		return Plan{}, err
	}
	var p Plan
	for _, d := range w.domains {
		if d.made == nil {
			continue
		}
		if err := p.add(d.made, ""); err != nil {
			return Plan{}, err
		}
	}
	return p, nil
}

// Ours reports whether the object is a Gateway that we made and that nobody has
// edited since: only then it may be written to or deleted. The proof is in the
// object: an annotation with the hash of the spec as we wrote it.
func Ours(object metav1.Object) bool {
	g, is := object.(*ravenv1beta1.Gateway)
	if !is || g.Labels[api.LabelManagedBy] != api.ManagedBy {
		return false
	}
	hash, err := hashOf(g.Spec)
	return err == nil && g.Annotations[api.AnnotationSpecHash] == hash
}

func hashOf(spec ravenv1beta1.GatewaySpec) (string, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("hash gateway spec: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

func (w *world) makeGateway(d *domain) (*ravenv1beta1.Gateway, error) {
	g := &ravenv1beta1.Gateway{
		TypeMeta: metav1.TypeMeta{APIVersion: ravenv1beta1.GroupVersion.String(), Kind: "Gateway"},
		ObjectMeta: metav1.ObjectMeta{
			Name:   d.name,
			Labels: map[string]string{api.LabelManagedBy: api.ManagedBy},
		},
		Spec: ravenv1beta1.GatewaySpec{
			// What Raven's defaulting webhook would put there.
			NodeSelector: &metav1.LabelSelector{MatchLabels: map[string]string{api.LabelGateway: d.name}},
			TunnelConfig: ravenv1beta1.TunnelConfiguration{Replicas: 1},
		},
	}
	for _, n := range w.candidates(d) {
		e := ravenv1beta1.Endpoint{NodeName: n.Name, Type: ravenv1beta1.Tunnel, Port: api.PortLinks}
		if d.cloud {
			e.PublicIP = address(n, corev1.NodeExternalIP)
		} else {
			e.UnderNAT = true
		}
		g.Spec.Endpoints = append(g.Spec.Endpoints, e)
	}
	if d.cloud {
		proxies := w.proxyEndpoints(g.Spec.Endpoints)
		g.Spec.Endpoints = append(g.Spec.Endpoints, proxies...)
		g.Spec.ProxyConfig.Replicas = len(proxies)
	}
	hash, err := hashOf(g.Spec)
	if err != nil {
		return nil, err
	}
	g.Annotations = map[string]string{api.AnnotationSpecHash: hash}
	return g, nil
}

// candidates chooses the nodes that may carry the domain's links. Who is a
// candidate stays one, unless it cannot be used and another node can: a change
// here is a change of peers at every other site.
func (w *world) candidates(d *domain) []*corev1.Node {
	nodes := slices.Clone(d.nodes)
	if d.cloud {
		nodes = cloudCandidates(nodes)
	}
	now := map[string]bool{}
	if d.gateway != nil {
		for _, e := range d.gateway.Spec.Endpoints {
			now[e.NodeName] = true
		}
	}
	rank := func(n *corev1.Node) int {
		usable := w.hasKey(n.Name) && (isReady(n) || now[n.Name] && w.between(n))
		switch {
		case now[n.Name] && usable:
			return 0
		case usable:
			return 1
		case now[n.Name]:
			return 2
		case isReady(n):
			return 3
		}
		return 4
	}
	slices.SortStableFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(rank(a), rank(b)) })
	nodes = nodes[:min(len(nodes), maxCandidates)]
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes
}

// cloudCandidates keeps nodes with an address of their own on the internet if
// there are any, and leaves control-plane nodes alone if it can.
func cloudCandidates(nodes []*corev1.Node) []*corev1.Node {
	keepIf := func(nodes []*corev1.Node, ok func(*corev1.Node) bool) []*corev1.Node {
		if i := slices.IndexFunc(nodes, ok); i < 0 {
			return nodes
		}
		return slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool { return !ok(n) })
	}
	nodes = keepIf(nodes, func(n *corev1.Node) bool { return address(n, corev1.NodeExternalIP) != "" })
	return keepIf(nodes, func(n *corev1.Node) bool {
		_, control := n.Labels["node-role.kubernetes.io/control-plane"]
		return !control
	})
}

// address returns the node's first address of that type; "" if it has none.
func address(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return ""
}
