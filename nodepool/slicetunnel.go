// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/plan"
)

// maxTunnels is what the schema of a DomainSlice allows.
const maxTunnels = 64

// sliceTunnels lists where agents dial magpie-gateway in a cloud domain: every
// proxy endpoint of its Gateway, and the load balancer of the Service. Ready or
// not makes no difference: an agent notices by itself who answers, and a list
// that follows every flapping node would wake all agents each time.
func (w *world) sliceTunnels(d *domain) ([]string, []plan.Note) {
	if !d.cloud || d.gateway == nil {
		return nil, nil
	}
	if !w.switchedOn(ravenv1beta1.Proxy) {
		if d.name != api.GatewayCloud {
			return nil, nil // said once, not for each domain
		}
		return nil, []plan.Note{noteOf("gateway "+d.name, NoteProxyOff,
			"kubectl logs, exec and the like do not reach edge nodes: ConfigMap kube-system/raven-cfg says enable-l7-proxy: \"false\"")}
	}
	e := w.elect(d, ravenv1beta1.Proxy)
	var out []string
	for _, c := range e.candidates {
		if at, ok := endpointOf(c, d.node(c.NodeName), api.PortTunnel); ok {
			out = append(out, at.String())
		}
	}
	balanced := w.in.TunnelService != nil && w.firstCloud() == d
	if balanced {
		out = append(out, balancerAddresses(w.in.TunnelService)...)
	}
	if len(out) == 0 && (balanced || len(e.candidates) > 0) {
		e.notes = append(e.notes, noteOf("gateway "+d.name, NoteProxyAddress,
			"no agent can dial magpie-gateway: no proxy endpoint has a publicIP, no node of one an ExternalIP, and Service "+
				api.TunnelServiceName+" has no load balancer with an address; "+
				"set publicIP of the proxy endpoints, or make the Service one of type LoadBalancer"))
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxTunnels)], e.notes
}

// firstCloud is the domain that speaks for the Service: others would repeat it.
func (w *world) firstCloud() *domain {
	i := slices.IndexFunc(w.domains, func(d *domain) bool { return d.cloud && len(d.nodes) > 0 })
	if i < 0 {
		return nil
	}
	return w.domains[i]
}

// balancerAddresses are where the load balancer of the Service is dialled. Some
// clouds give a name and no address; an agent can dial that as well.
func balancerAddresses(s *corev1.Service) []string {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	port := api.PortTunnel
	if p, ok := agentsPort(s); ok {
		port = int(p.Port)
	}
	var out []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		switch addr, err := netip.ParseAddr(i.IP); {
		case err == nil:
			out = append(out, netip.AddrPortFrom(addr, uint16(port)).String())
		case i.Hostname != "":
			out = append(out, i.Hostname+":"+strconv.Itoa(port))
		}
	}
	return out
}

func agentsPort(s *corev1.Service) (corev1.ServicePort, bool) {
	for _, p := range s.Spec.Ports {
		if p.Name == api.TunnelServicePort {
			return p, true
		}
	}
	return corev1.ServicePort{}, false
}

// proxyEndpoints are the proxy endpoints of a Gateway that we make: the nodes
// that carry the links, if magpie-gateway is installed and answers on its nodes.
// Behind a load balancer it need not, and the balancer is found by its Service.
func (w *world) proxyEndpoints(tunnels []ravenv1beta1.Endpoint) []ravenv1beta1.Endpoint {
	s := w.in.TunnelService
	if s == nil || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		return nil
	}
	port := api.PortTunnel
	if p, ok := agentsPort(s); ok && p.NodePort != 0 {
		port = int(p.NodePort)
	}
	var out []ravenv1beta1.Endpoint
	for _, e := range tunnels {
		out = append(out, ravenv1beta1.Endpoint{NodeName: e.NodeName, Type: ravenv1beta1.Proxy, Port: port, PublicIP: e.PublicIP})
	}
	return out
}
