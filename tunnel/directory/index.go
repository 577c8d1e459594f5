// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
)

// Objects is what an Index is made of. The order of the lists carries no
// meaning, and nothing is written to.
type Objects struct {
	Nodes     []*corev1.Node
	Services  []*corev1.Service
	Endpoints []*discoveryv1.EndpointSlice
	Slices    []*v1alpha1.DomainSlice
}

// Index answers where something is. It is immutable.
type Index struct {
	nodes    map[string]*node
	aliases  map[string][]*node // other names that nodes have for themselves
	addrs    map[netip.Addr][]*node
	pods     map[netip.Prefix][]*node
	podBits  []int // lengths of the prefixes in pods
	services map[serviceKey]*corev1.Service
	byIP     map[netip.Addr]*corev1.Service
	backends map[serviceKey][]*discoveryv1.EndpointSlice
	// servers are where the API server listens.
	servers map[netip.AddrPort]bool
}

type serviceKey struct{ namespace, name string }

// apiService is the API server's own Service.
var apiService = serviceKey{"default", "kubernetes"}

// node is what matters of a Node.
type node struct {
	name, uid string
	// direct is true where the gateway reaches the node's address by itself;
	// cloud where it reaches its pods, too.
	direct, cloud bool
	internal      []netip.Addr // in the order of the Node
	addrs         []netip.Addr // all
	pods          []netip.Prefix
}

// New makes an Index.
func New(o Objects) *Index {
	x := &Index{
		nodes:    make(map[string]*node, len(o.Nodes)),
		aliases:  map[string][]*node{},
		addrs:    make(map[netip.Addr][]*node, len(o.Nodes)),
		pods:     make(map[netip.Prefix][]*node, len(o.Nodes)),
		services: make(map[serviceKey]*corev1.Service, len(o.Services)),
		byIP:     make(map[netip.Addr]*corev1.Service, len(o.Services)),
		backends: make(map[serviceKey][]*discoveryv1.EndpointSlice, len(o.Services)),
		servers:  map[netip.AddrPort]bool{},
	}
	near := map[string]*v1alpha1.DomainSlice{} // node name to its slice, if that is near
	for _, s := range o.Slices {
		for i := range s.Spec.Nodes {
			if s.Spec.Cloud || s.Spec.Private {
				near[s.Spec.Nodes[i].Name] = s
			}
		}
	}
	for _, n := range o.Nodes {
		x.addNode(n, near[n.Name])
	}
	for _, s := range o.Services {
		x.services[serviceKey{s.Namespace, s.Name}] = s
		for _, text := range s.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(text); err == nil {
				x.byIP[a] = s
			}
		}
	}
	for _, s := range o.Endpoints {
		key := serviceKey{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
		x.backends[key] = append(x.backends[key], s)
	}
	for _, s := range x.backends[apiService] {
		x.addServer(s)
	}
	return x
}

func (x *Index) addNode(n *corev1.Node, near *v1alpha1.DomainSlice) {
	out := &node{name: n.Name, uid: string(n.UID)}
	out.cloud = near != nil && near.Spec.Cloud
	out.direct = near != nil || n.Labels[api.LabelInterconnection] == api.InterconnectionPrivate
	for _, a := range n.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		addr = addr.Unmap()
		switch {
		case err != nil && a.Address != n.Name && !slices.Contains(x.aliases[a.Address], out):
			x.aliases[a.Address] = append(x.aliases[a.Address], out)
		case err == nil && !slices.Contains(out.addrs, addr):
			out.addrs = append(out.addrs, addr)
			x.addrs[addr] = append(x.addrs[addr], out)
		}
		if err == nil && a.Type == corev1.NodeInternalIP {
			out.internal = append(out.internal, addr)
		}
	}
	for _, text := range n.Spec.PodCIDRs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		p = p.Masked()
		out.pods = append(out.pods, p)
		x.pods[p] = append(x.pods[p], out)
		if !slices.Contains(x.podBits, p.Bits()) {
			x.podBits = append(x.podBits, p.Bits())
		}
	}
	x.nodes[n.Name] = out
}

// addServer remembers where the API server listens.
func (x *Index) addServer(s *discoveryv1.EndpointSlice) {
	var addrs []string
	for _, e := range s.Endpoints {
		addrs = append(addrs, e.Addresses...)
	}
	for _, text := range addrs {
		addr, err := netip.ParseAddr(text)
		for _, p := range s.Ports {
			if err == nil && p.Port != nil {
				x.servers[netip.AddrPortFrom(addr.Unmap(), uint16(*p.Port))] = true
			}
		}
	}
}

// NodeUID returns the UID of the Node of that name.
func (x *Index) NodeUID(name string) (uid string, ok bool) {
	n := x.nodes[name]
	if n == nil {
		return "", false
	}
	return n.uid, true
}

// Removed is a Node that is no more.
type Removed struct {
	Node string
	UID  string // of the one that is gone; another may have its name now
	Why  string // for a person
}

// Gone returns the Nodes of an earlier Index that this one has no more, sorted
// by name.
func (x *Index) Gone(earlier *Index) []Removed {
	var out []Removed
	for name, was := range earlier.nodes {
		is := x.nodes[name]
		switch {
		case is == nil:
			out = append(out, Removed{name, was.uid, "the Node was deleted"})
		case is.uid != was.uid:
			out = append(out, Removed{name, was.uid, "the Node was deleted and made again"})
		}
	}
	slices.SortFunc(out, func(a, b Removed) int {
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	return out
}

// Instance is one gateway.
type Instance struct {
	Name  string // of its pod, as in its certificate
	Addr  netip.Addr
	Ready bool
}

// Instances returns the endpoints of the gateways' own Service, one for each
// pod, sorted by name.
func (x *Index) Instances(namespace, service string) []Instance {
	byName := map[string]Instance{}
	for _, s := range x.backends[serviceKey{namespace, service}] {
		for _, e := range s.Endpoints {
			if e.TargetRef == nil || len(e.Addresses) == 0 {
				continue
			}
			addr, err := netip.ParseAddr(e.Addresses[0])
			old, twice := byName[e.TargetRef.Name]
			if err != nil || twice && old.Addr.Is4() { // two families: IPv4 will do
				continue
			}
			byName[e.TargetRef.Name] = Instance{e.TargetRef.Name, addr.Unmap(), ready(e)}
		}
	}
	out := make([]Instance, 0, len(byName))
	for _, i := range byName {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Instance) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// ready reports whether an endpoint takes new connections; nil means it does.
// Source: k8s.io/api discovery/v1 EndpointConditions.
func ready(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }
