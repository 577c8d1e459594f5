// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/internal/health"
)

// network takes over what status finds wrong: nodes, gateways, their election,
// links.
type network struct{}

func (network) Name() string { return "nodes, gateways and links" }

func (c network) Look(p Patient) ([]Finding, string) {
	if p.Status == nil {
		return nil, p.skipped(c.Name())
	}
	var out []Finding
	for _, problem := range p.Status.Problems {
		about := []string{}
		if node, ok := strings.CutPrefix(problem.Subject, "node "); ok {
			about = p.around(node)
		}
		if domain, ok := strings.CutPrefix(problem.Subject, "domain "); ok {
			about = p.gatewaysOf(domain)
		}
		f := noted(problem.Code, problem.Subject, problem.Text, problem.Do, about...)
		for _, l := range p.Status.Links {
			if problem.Subject == linkSubject(l.Gateway, l.Peer) {
				f.about = append(f.about, "node "+l.Gateway, "node "+l.Peer, "domain "+l.Domain)
				f.Since = l.LastHeard
			}
		}
		out = append(out, f)
	}
	return out, ""
}

// gatewaysOf returns the gateway nodes of a domain as subjects.
func (p Patient) gatewaysOf(domain string) []string {
	var out []string
	for _, g := range p.Status.Gateways {
		if g.Domain == domain {
			out = append(out, "node "+g.Node)
		}
	}
	return out
}

// stuckAfter is how long the manager may take to replace a gateway.
const stuckAfter = 2 * time.Minute

// election looks for gateways that should have been replaced.
type election struct{}

func (election) Name() string { return "gateway election" }

func (c election) Look(p Patient) ([]Finding, string) {
	if p.Status == nil {
		return nil, p.skipped(c.Name())
	}
	var out []Finding
	for _, g := range p.Status.Gateways {
		n, known := p.node(g.Node)
		if !g.Active || !known || n.Ready || n.NotReadySince == nil || p.Now.Sub(*n.NotReadySince) < stuckAfter {
			continue
		}
		var other []string
		for _, h := range p.Status.Gateways {
			if h.Domain == g.Domain && h.Ready && h.Key && !h.Active {
				other = append(other, h.Node)
			}
		}
		if len(other) > 0 {
			out = append(out, find(health.GatewayStuck, "domain "+g.Domain,
				g.Node+" is its active gateway and has not been Ready for "+status.Age(p.Now.Sub(*n.NotReadySince))+", while "+few(other)+" could take over",
				"kubectl logs -A -l app.kubernetes.io/component=manager --tail 50: it elects gateways"))
		}
	}
	return out, ""
}

// plans asks the planners, as the agents and the manager do.
type plans struct{}

func (plans) Name() string { return "notes of the plans" }

func (c plans) Look(p Patient) ([]Finding, string) {
	if p.Status == nil {
		return nil, p.skipped(c.Name())
	}
	var out []Finding
	for _, n := range p.Notes {
		same := func(q status.Problem) bool { return q.Code == n.Code }
		if slices.ContainsFunc(p.Status.Problems, same) {
			continue // status has said it already, in more words
		}
		var about []string
		if node, ok := strings.CutPrefix(n.Subject, "node "); ok {
			about = p.around(node)
		}
		out = append(out, noted(n.Code, n.Subject, n.Text, "", about...))
	}
	return out, ""
}

// overlaps looks for addresses that are two things at once. Ranges of pods that
// overlap each other are a note of the manager's.
type overlaps struct{}

func (overlaps) Name() string { return "overlapping addresses" }

func (c overlaps) Look(p Patient) ([]Finding, string) {
	if len(p.PodRanges) == 0 {
		return nil, p.skipped(c.Name())
	}
	var out []Finding
	for _, pods := range p.PodRanges {
		for _, s := range p.ServiceRanges {
			if pods.Overlaps(s) {
				out = append(out, find(health.AddressOverlap, "range "+pods.String(), "Services have "+s.String()+", which overlaps it",
					"give one of them another range: --cluster-cidr and --service-cluster-ip-range must be apart"))
			}
		}
		inside := p.nodesIn(pods)
		if len(inside) > 0 {
			out = append(out, find(health.AddressOverlap, "range "+pods.String(), few(inside)+", within the range of pods",
				"renumber that site's network, or choose a --cluster-cidr that no site uses"))
		}
	}
	return out, ""
}

// nodesIn names the nodes that have an address in a range.
func (p Patient) nodesIn(pods netip.Prefix) []string {
	var out []string
	for _, node := range slices.Sorted(maps.Keys(p.Addresses)) {
		i := slices.IndexFunc(p.Addresses[node], pods.Contains)
		if i >= 0 {
			out = append(out, node+" has "+p.Addresses[node][i].String())
		}
	}
	return out
}

// mtu looks whether links carry what pods send.
type mtu struct{}

func (mtu) Name() string { return "MTU" }

func (c mtu) Look(p Patient) ([]Finding, string) {
	if p.Status == nil {
		return nil, p.skipped(c.Name())
	}
	var out []Finding
	for _, l := range p.Status.Links {
		// Between gateways the VXLAN overhead is gone and WireGuard's is new.
		if p.MTU == 0 || l.MTU == 0 || p.MTU <= l.MTU {
			continue
		}
		out = append(out, find(health.MTUMismatch, linkSubject(l.Gateway, l.Peer),
			fmt.Sprintf("pods are told %d bytes and the link carries %d", p.MTU, l.MTU),
			fmt.Sprintf("set network.mtu of the chart to %d or to 0", max(l.MTU, api.MTUMin))))
	}
	return out, ""
}

// proxies looks at kube-proxy where it runs in pods.
type proxies struct{}

func (proxies) Name() string { return "kube-proxy" }

func (c proxies) Look(p Patient) ([]Finding, string) {
	if len(p.Proxies) == 0 {
		return nil, cmp.Or(p.Denied[c.Name()], "it does not run in pods here")
	}
	var out []Finding
	for _, pod := range p.Proxies {
		if podReady(pod) {
			continue
		}
		node := pod.Spec.NodeName
		out = append(out, find(health.KubeProxyDown, "node "+node, "its kube-proxy is not ready: "+podTrouble(pod),
			"kubectl -n "+pod.Namespace+" logs "+pod.Name+" --tail 50", append(p.around(node), "node "+node)...))
	}
	return out, ""
}

// dns looks whether anybody answers for the cluster's DNS.
type dns struct{}

func (dns) Name() string { return "cluster DNS" }

func (c dns) Look(p Patient) ([]Finding, string) {
	if p.DNS == nil {
		return nil, cmp.Or(p.Denied[c.Name()], "there is no Service kube-system/kube-dns")
	}
	if *p.DNS > 0 {
		return nil, ""
	}
	return []Finding{find(health.DNSDown, everything, "Service kube-system/kube-dns has no endpoint that is ready",
		"kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide: where do they run, and are those nodes Ready?")}, ""
}

// tunnels takes over what magpiectl tunnel finds wrong.
type tunnels struct{}

func (tunnels) Name() string { return "O&M tunnel" }

func (c tunnels) Look(p Patient) ([]Finding, string) {
	if p.Tunnel == nil {
		return nil, p.skipped(c.Name())
	}
	var out []Finding
	for _, x := range slices.Concat(p.Tunnel.Problems, p.Tunnel.Notes) {
		var about []string
		if node, ok := strings.CutPrefix(x.Subject, "node "); ok {
			about = p.around(node)
		}
		out = append(out, noted(x.Code, x.Subject, x.Text, x.Do, about...))
	}
	return out, p.Tunnel.Off
}
