// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"cmp"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/plan"
)

// sliceGateways lists every candidate of the domain, the active ones marked:
// the others are standby, and peers may keep a path to them warm.
func (w *world) sliceGateways(d *domain) ([]v1alpha1.SliceGateway, []plan.Note) {
	if n, silent := w.whyNone(d); n != nil || silent {
		if n == nil {
			return nil, nil
		}
		return nil, []plan.Note{*n}
	}
	e := w.elect(d, ravenv1beta1.Tunnel)
	var out []v1alpha1.SliceGateway
	dialled := false
	for _, c := range e.candidates {
		g := v1alpha1.SliceGateway{Node: c.NodeName, Active: e.isActive(c.NodeName)}
		if r := w.reports[c.NodeName]; r != nil {
			g.PublicKey, g.MTU = r.Spec.PublicKey, r.Spec.MTU
		}
		if at, ok := endpointOf(c, d.node(c.NodeName), api.PortLinks); ok {
			g.Endpoints = []string{at.String()}
			dialled = true
		}
		out = append(out, g)
	}
	if d.cloud && !dialled {
		e.notes = append(e.notes, plan.Note{
			Subject: "gateway " + d.name, Code: NoteGatewayAddress,
			Text: "no edge can dial this domain: no endpoint has a publicIP and no node an ExternalIP; " +
				"set spec.endpoints[].publicIP to the address that reaches the node from outside (EIP, NAT), UDP port 4500",
		})
	}
	if d.gateway.Spec.ExposeType == ravenv1beta1.ExposeLoadBalancer {
		e.notes = append(e.notes, plan.Note{
			Subject: "gateway " + d.name, Code: NoteExposeType,
			Text: "exposeType LoadBalancer: no Service is made yet; set spec.endpoints[].publicIP to the balancer's address",
		})
	}
	return out, e.notes
}

// whyNone returns the Note of a domain that has no links by somebody's will,
// or silent for one of which there is nothing to say.
func (w *world) whyNone(d *domain) (note *plan.Note, silent bool) {
	switch {
	case d.gateway == nil:
		return &plan.Note{
			Subject: "gateway " + d.name, Code: NoteGatewayMissing,
			Text: "nodes are labelled " + api.LabelGateway + "=" + d.name +
				" but there is no Gateway of that name: write it, or remove the label",
		}, false
	case !w.on(api.RavenEnableL3):
		if d.name != api.GatewayCloud {
			return nil, true // said once, not for each domain
		}
		return &plan.Note{
			Subject: "gateway " + d.name, Code: NoteLinksOff,
			Text: "no domain has links: ConfigMap kube-system/raven-cfg says enable-l3-tunnel: \"false\"",
		}, false
	case replicas(d.gateway.Spec, ravenv1beta1.Tunnel) == 0:
		return &plan.Note{
			Subject: "gateway " + d.name, Code: NoteTunnelOff,
			Text: "the domain has no links: spec.tunnelConfig.Replicas is 0 or not set; set it to 1",
		}, false
	}
	return nil, false
}

// endpointOf returns where the candidate is dialled; port is the default.
func endpointOf(e ravenv1beta1.Endpoint, n *corev1.Node, port int) (netip.AddrPort, bool) {
	if e.UnderNAT {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddr(cmp.Or(e.PublicIP, address(n, corev1.NodeExternalIP)))
	if err != nil {
		return netip.AddrPort{}, false
	}
	port = cmp.Or(e.PublicPort, e.Port, port)
	if port < 1 || port > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, uint16(port)), true
}
