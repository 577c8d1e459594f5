// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/plan"
)

// election is its outcome for one domain and one type of endpoint.
type election struct {
	candidates []ravenv1beta1.Endpoint // in the order of the spec
	active     []ravenv1beta1.Endpoint
	notes      []plan.Note
}

func (e election) isActive(node string) bool {
	return slices.ContainsFunc(e.active, func(a ravenv1beta1.Endpoint) bool { return a.NodeName == node })
}

// elect chooses the active endpoints of one type.
//
// Rules, the first that gives anybody wins:
//
//  1. usable ones: Ready and, for tunnels, with a published link key; those
//     that are active already come first, and stay while only their agent is
//     away (see between);
//  2. those that are active now: NotReady says that the API server does not
//     hear the node, not that packets do not pass;
//  3. Ready ones, whose key is still to come;
//  4. the first of the list: a domain is never left without a gateway.
//
// An edge domain has as many active ones as Replicas says. In a cloud domain
// all are active: they share the sites among them.
func (w *world) elect(d *domain, kind string) election {
	var e election
	if d.gateway == nil {
		return e
	}
	count := replicas(d.gateway.Spec, kind)
	if !w.switchedOn(kind) || count == 0 {
		return e
	}
	e.candidates, e.notes = w.eligible(d, kind)
	if d.cloud {
		count = len(e.candidates)
	}
	var now []string
	for _, a := range d.gateway.Status.ActiveEndpoints {
		if kindOf(a) == kind {
			now = append(now, a.NodeName)
		}
	}
	was := func(x ravenv1beta1.Endpoint) bool { return slices.Contains(now, x.NodeName) }
	ready := func(x ravenv1beta1.Endpoint) bool { return isReady(d.node(x.NodeName)) }
	usable := func(x ravenv1beta1.Endpoint) bool {
		if kind != ravenv1beta1.Tunnel {
			return ready(x)
		}
		return w.hasKey(x.NodeName) && (ready(x) || was(x) && w.between(d.node(x.NodeName)))
	}
	for _, rule := range [][]func(ravenv1beta1.Endpoint) bool{
		{usable, was}, {was}, {ready}, {},
	} {
		if e.active = pick(e.candidates, count, rule); len(e.active) > 0 {
			return e
		}
	}
	return e
}

// between reports that a node is between two agents and still carries packets:
// its kubelet says that nothing but our plugin is missing, as it does for ten
// seconds whenever an agent is replaced, and a Ready node has lately shaken
// hands with it. Moving links away and back for that would disturb every site
// at every rollout. An agent that does not come back costs the node its
// handshakes within three minutes, and then the election.
func (w *world) between(n *corev1.Node) bool {
	i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	if i < 0 || n.Status.Conditions[i].Status != corev1.ConditionFalse ||
		!strings.Contains(n.Status.Conditions[i].Message, networkNotReady) {
		return false
	}
	for _, r := range w.in.Reports {
		hears := slices.ContainsFunc(r.Status.Links, func(l v1alpha1.LinkState) bool { return l.Node == n.Name && l.Live })
		if hears && w.readyNode(r.Name) {
			return true
		}
	}
	return false
}

// networkNotReady is in the message of condition Ready while the runtime's CNI
// plugin does not answer STATUS with success.
// Source: k8s.io/cri-api, RuntimeCondition NetworkReady; containerd
// internal/cri/server/status.go.
const networkNotReady = "NetworkPluginNotReady"

func (w *world) readyNode(name string) bool {
	i := slices.IndexFunc(w.in.Nodes, func(n *corev1.Node) bool { return n.Name == name })
	return i >= 0 && isReady(w.in.Nodes[i])
}

// pick takes up to count endpoints that the first predicate holds for, and
// prefers those that the second holds for. The result is in the order of the
// list, so that equal outcomes are equal bytes.
func pick(list []ravenv1beta1.Endpoint, count int, rule []func(ravenv1beta1.Endpoint) bool) []ravenv1beta1.Endpoint {
	chosen := map[string]bool{}
	take := func(ok func(ravenv1beta1.Endpoint) bool) {
		for _, x := range list {
			if len(chosen) < count && ok(x) {
				chosen[x.NodeName] = true
			}
		}
	}
	holds := func(ravenv1beta1.Endpoint) bool { return true }
	if len(rule) > 0 {
		holds = rule[0]
	}
	if len(rule) > 1 {
		take(func(x ravenv1beta1.Endpoint) bool { return holds(x) && rule[1](x) })
	}
	take(holds)
	var out []ravenv1beta1.Endpoint
	for _, x := range list {
		if chosen[x.NodeName] {
			out = append(out, x)
		}
	}
	return out
}

// eligible lists the endpoints of one type whose node is in the domain.
func (w *world) eligible(d *domain, kind string) (out []ravenv1beta1.Endpoint, notes []plan.Note) {
	seen := map[string]bool{}
	for _, x := range d.gateway.Spec.Endpoints {
		if kindOf(x) != kind || seen[x.NodeName] {
			continue
		}
		seen[x.NodeName] = true
		if d.node(x.NodeName) == nil {
			notes = append(notes, plan.Note{
				Subject: "gateway " + d.name, Code: NoteEndpointStrange,
				Text: "endpoint " + x.NodeName + " is not a node of this domain: correct spec.endpoints, " +
					"or label the node " + api.LabelGateway + "=" + d.name,
			})
			continue
		}
		out = append(out, x)
	}
	return out, notes
}

// kindOf reads an endpoint without a type, which only v1alpha1 allows, as a
// tunnel endpoint, as Raven's conversion does.
func kindOf(e ravenv1beta1.Endpoint) string {
	if e.Type == "" {
		return ravenv1beta1.Tunnel
	}
	return e.Type
}

// replicas returns how many endpoints of the type shall be active. A Gateway
// written as v1alpha1 (endpoints without a type) has one of them.
func replicas(spec ravenv1beta1.GatewaySpec, kind string) int {
	if kind == ravenv1beta1.Proxy {
		return spec.ProxyConfig.Replicas
	}
	old := slices.ContainsFunc(spec.Endpoints, func(e ravenv1beta1.Endpoint) bool { return e.Type == "" })
	if old {
		return max(1, spec.TunnelConfig.Replicas)
	}
	return spec.TunnelConfig.Replicas
}

func (w *world) switchedOn(kind string) bool {
	if kind == ravenv1beta1.Proxy {
		return w.on(api.RavenEnableL7)
	}
	return w.on(api.RavenEnableL3)
}
