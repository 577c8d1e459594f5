// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/service"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/topology"
)

// Services says what Services ask for and who follows it.
type Services struct {
	// Served is true if the agents are told to serve a hub.
	Served bool
	// Fenced is true if the agents close NodePorts in nftables, whoever reads what.
	Fenced bool
	// Readers are kube-proxy and CoreDNS, by the names that are known.
	Readers []Reader
	// Unclear is why one of them is not among these; "" if all are.
	Unclear string
	// Marked are the Services with openyurt.io/topologyKeys or
	// nodeport.openyurt.io/listen.
	Marked []corev1.Service
	// Ready names, for each of them that is pinned, "namespace/name", the nodes
	// with a ready endpoint.
	Ready map[string][]string
	// Pools are the NodePools; PoolOf says in which pool a node is, "" for none.
	Pools  []string
	PoolOf map[string]string
}

// Reader is a program that reads Services.
type Reader struct {
	// Name is "DaemonSet namespace/name".
	Name string
	// Hub is true if it is pointed at the hub.
	Hub bool
}

// inUse names the Services on which a hub has an effect.
func (s *Services) inUse() []string {
	var out []string
	for i := range s.Marked {
		svc := &s.Marked[i]
		reach, _ := topology.ReachOf(svc)
		_, listen := svc.Annotations[api.AnnotationListen]
		listen = listen && !s.Fenced
		if reach != topology.ReachAnywhere || listen && slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort != 0 }) {
			out = append(out, svc.Namespace+"/"+svc.Name)
		}
	}
	slices.Sort(out)
	return out
}

// hubs looks whether the annotations of Services have an effect.
type hubs struct{}

func (hubs) Name() string { return "hub" }

func (c hubs) Look(p Patient) ([]Finding, string) {
	if p.Services == nil {
		return nil, p.skipped(c.Name())
	}
	var on, off []string
	for _, r := range p.Services.Readers {
		if r.Hub {
			on = append(on, r.Name)
		} else {
			off = append(off, r.Name)
		}
	}
	used := p.Services.inUse()
	ask := fmt.Sprintf("%s count on it, by openyurt.io/topologyKeys or nodeport.openyurt.io/listen: %s", count(len(used), "Service"), few(used))
	if len(used) == 1 {
		ask = strings.Replace(ask, "count", "counts", 1)
	}
	switch {
	case !p.Services.Served && len(on) > 0:
		return []Finding{find(health.HubGone, everything, "hub.enabled of the chart is false; pointed at the hub: "+few(on),
			"magpiectl hub disable points them at the API server; if a hub is wanted: helm upgrade --reuse-values --set hub.enabled=true")}, ""
	case !p.Services.Served && len(used) > 0:
		return []Finding{find(health.HubOff, everything, "hub.enabled of the chart is false, and "+ask,
			"helm upgrade --reuse-values --set hub.enabled=true, then magpiectl hub enable")}, ""
	case !p.Services.Served:
		return nil, "the agents serve none, and no Service asks for one"
	case len(off) == 0 && p.Services.Unclear != "":
		return nil, p.Services.Unclear
	case len(p.Services.Readers) == 0:
		return nil, "no kube-proxy and no CoreDNS of the names that kubeadm and ACK give; see magpiectl hub"
	case len(off) == 0:
		return nil, ""
	}
	f := find(health.HubUnread, everything, "the agents serve a hub; read from the API server instead: "+few(off), "magpiectl hub enable")
	if len(used) == 0 {
		f.Severity = health.Info.String()
	} else {
		f.Text += "; " + ask
	}
	return []Finding{f}, ""
}

// annotated looks at what the annotations say, and where it leaves nobody.
type annotated struct{}

func (annotated) Name() string { return "Services and pools" }

func (annotated) Look(p Patient) ([]Finding, string) {
	s := p.Services
	if s == nil {
		return nil, p.skipped(hubs{}.Name())
	}
	var out []Finding
	for i := range s.Marked {
		svc := &s.Marked[i]
		if _, note := topology.ReachOf(svc); note != nil {
			out = append(out, noted(note.Code, note.Subject, note.Text, fmt.Sprintf("kubectl annotate service -n %s %s --overwrite %s=%s",
				svc.Namespace, svc.Name, api.AnnotationTopology, topology.ReachPool)))
		}
	}
	return slices.Concat(out, s.unknownPools(), s.unserved(p), s.emptyPools()), ""
}

// unknownPools are those that nodeport.openyurt.io/listen names, with who does.
func (s *Services) unknownPools() []Finding {
	by := map[string][]string{}
	for _, svc := range s.Marked {
		for _, name := range service.Named(svc.Annotations[api.AnnotationListen]) {
			if !slices.Contains(s.Pools, name) && !s.hasNode(name) {
				by[name] = append(by[name], svc.Namespace+"/"+svc.Name)
			}
		}
	}
	var out []Finding
	for _, name := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[name])
		one := strings.Replace(by[name][0], "/", " ", 1)
		out = append(out, find(health.ListenUnknownPool, "pool "+name,
			fmt.Sprintf("%s of %s names it, and there is no such pool, yet or by a typing mistake", api.AnnotationListen, few(by[name])),
			fmt.Sprintf("kubectl get nodepools; then kubectl annotate service -n %s --overwrite %s=POOLS", one, api.AnnotationListen)))
	}
	return out
}

func (s *Services) hasNode(pool string) bool {
	for _, p := range s.PoolOf {
		if p == pool {
			return true
		}
	}
	return false
}

// unserved says which pinned Services leave which pools without an endpoint. Of a
// pool without a Ready node that is a consequence of what others find.
func (s *Services) unserved(p Patient) []Finding {
	var lacking []string
	one := ""
	for i := range s.Marked {
		svc := &s.Marked[i]
		name := svc.Namespace + "/" + svc.Name
		if reach, _ := topology.ReachOf(svc); reach == topology.ReachAnywhere || svc.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		left := map[string]bool{} // pools with nodes that could serve
		for name, pool := range s.PoolOf {
			if n, known := p.node(name); pool != "" && (n.Ready || !known) {
				left[pool] = true
			}
		}
		for _, node := range s.Ready[name] {
			left[s.PoolOf[node]] = false
		}
		maps.DeleteFunc(left, func(_ string, without bool) bool { return !without })
		if len(left) > 0 {
			lacking = append(lacking, name+" in "+few(slices.Sorted(maps.Keys(left))))
			one = cmp.Or(one, name)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	slices.Sort(lacking)
	return []Finding{find(health.PinUnserved, everything, "no endpoint is ready for "+strings.Join(lacking[:min(3, len(lacking))], "; ")+more(len(lacking)-3),
		"is it meant so? magpiectl service "+one+" says what each pool and node sees")}
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf("; and %s", count(n, "more Service"))
}

func (s *Services) emptyPools() []Finding {
	empty := slices.DeleteFunc(slices.Sorted(slices.Values(s.Pools)), s.hasNode)
	if len(empty) == 0 {
		return nil
	}
	return []Finding{find(health.PoolEmpty, everything, "no node is in "+few(empty),
		"magpiectl join prints the script that joins a machine; a pool that is not needed: kubectl delete nodepool NAME")}
}
