// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Route is one way to what was asked for.
type Route struct {
	// Node whose agent carries the stream.
	Node string
	// Addr is a pod of that node; the zero Addr is the node itself.
	Addr netip.Addr
	Port uint16
	// Direct is where the gateway may dial by itself, without the tunnel: nodes
	// and pods of the cloud, and nodes of pools on a private line. Zero: nowhere.
	Direct netip.AddrPort
}

// Reasons why something does not resolve.
var (
	ErrUnknown   = errors.New("no node, pod or Service")
	ErrAmbiguous = errors.New("several nodes have it: use the node's name")
	ErrForbidden = errors.New("never reached through the tunnel")
	ErrNoBackend = errors.New("the Service has no ready endpoint in a pod network")
)

// most routes that one Service is resolved to: a caller tries two or three.
const most = 16

// metadata are the cloud's own services, which hand out credentials.
// Source: Alibaba Cloud ECS "instance metadata"; AWS EC2 "IMDS" for IPv6.
var metadata = []netip.Addr{netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("fd00:ec2::254")}

// Resolve returns the ways to host and port, those that the gateway can dial
// itself first. host is the name of a node or another of its names, an address
// of a node, a pod or a Service, or a Service's name in DNS. Where an address
// is claimed by several kinds, what a controller assigned counts before what a
// node says of itself.
func (x *Index) Resolve(host string, port uint16) ([]Route, error) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	routes, err := x.resolve(host, port)
	if err != nil {
		return nil, fmt.Errorf("resolve %q port %d: %w", host, port, err)
	}
	return routes, nil
}

func (x *Index) resolve(host string, port uint16) ([]Route, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return x.byAddr(addr, port)
	}
	if n := x.nodes[host]; n != nil {
		return x.toNode(n, port)
	}
	if key, ok := serviceName(host); ok {
		if s := x.services[key]; s != nil {
			return x.toService(s, port)
		}
	}
	switch named := x.aliases[host]; len(named) {
	case 0:
		return nil, ErrUnknown
	case 1:
		return x.toNode(named[0], port)
	}
	return nil, ErrAmbiguous
}

// serviceName reads NAME.NAMESPACE.svc, with or without the cluster's domain.
func serviceName(host string) (serviceKey, bool) {
	labels := strings.SplitN(host, ".", 4)
	if len(labels) < 3 || labels[2] != "svc" {
		return serviceKey{}, false
	}
	return serviceKey{labels[1], labels[0]}, true
}

func (x *Index) byAddr(addr netip.Addr, port uint16) ([]Route, error) {
	addr = addr.Unmap()
	if x.forbidden(addr, port) {
		return nil, ErrForbidden
	}
	if s := x.byIP[addr]; s != nil {
		return x.toService(s, port)
	}
	n, err := x.podOwner(addr)
	if err != nil {
		return nil, err
	}
	if n != nil {
		return []Route{n.pod(addr, port)}, nil
	}
	switch owners := x.addrs[addr]; len(owners) {
	case 0:
		return nil, ErrUnknown
	case 1:
		return x.toNode(owners[0], port)
	}
	return nil, ErrAmbiguous
}

// forbidden: whatever an object says, nobody gets there through the tunnel.
func (x *Index) forbidden(addr netip.Addr, port uint16) bool {
	return !addr.IsValid() || addr.Zone() != "" || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() ||
		addr.IsLinkLocalUnicast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) ||
		slices.Contains(metadata, addr) || x.servers[netip.AddrPortFrom(addr, port)]
}

// podOwner returns the node whose pod CIDR holds addr; nil if none does.
func (x *Index) podOwner(addr netip.Addr) (*node, error) {
	var found *node
	for _, bits := range x.podBits {
		p, err := addr.Prefix(bits)
		if err != nil { // the other family
			continue
		}
		for _, n := range x.pods[p] {
			if found != nil && found != n {
				return nil, ErrAmbiguous
			}
			found = n
		}
	}
	return found, nil
}

func (x *Index) toNode(n *node, port uint16) ([]Route, error) {
	for _, addr := range n.addrs {
		if x.servers[netip.AddrPortFrom(addr, port)] {
			return nil, ErrForbidden // the API server, on a node of the control plane
		}
	}
	r := Route{Node: n.name, Port: port}
	for _, addr := range n.internal {
		owner, err := x.podOwner(addr)
		mine := len(x.addrs[addr]) == 1 && x.byIP[addr] == nil && owner == nil && err == nil
		if n.direct && mine && !x.forbidden(addr, port) {
			r.Direct = netip.AddrPortFrom(addr, port)
			break
		}
	}
	return []Route{r}, nil
}

func (n *node) pod(addr netip.Addr, port uint16) Route {
	r := Route{Node: n.name, Addr: addr, Port: port}
	if n.cloud {
		r.Direct = netip.AddrPortFrom(addr, port)
	}
	return r
}

// toService returns the ready endpoints of a Service's port.
func (x *Index) toService(s *corev1.Service, port uint16) ([]Route, error) {
	key := serviceKey{s.Namespace, s.Name}
	if key == apiService || s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, ErrForbidden
	}
	i := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == int32(port) && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP)
	})
	if i < 0 {
		return nil, ErrUnknown
	}
	var out []Route
	for _, slice := range x.backends[key] {
		target, ok := portOf(slice, s.Spec.Ports[i].Name)
		for _, e := range slice.Endpoints {
			if r, usable := x.endpoint(e, target); ok && usable && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	if len(out) == 0 {
		return nil, ErrNoBackend
	}
	slices.SortFunc(out, func(a, b Route) int {
		return cmp.Or(near(a)-near(b), cmp.Compare(a.Node, b.Node), a.Addr.Compare(b.Addr))
	})
	return out[:min(len(out), most)], nil
}

func near(r Route) int {
	if r.Direct.IsValid() {
		return 0
	}
	return 1
}

// portOf returns the number that a Service's port of that name has in a slice.
func portOf(s *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, p := range s.Ports {
		var has string
		if p.Name != nil {
			has = *p.Name
		}
		tcp := p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP
		if has == name && tcp && p.Port != nil && *p.Port > 0 && *p.Port < 1<<16 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// endpoint is usable if it is ready and where its node says it is: in the
// node's pod CIDR, or the node itself for a pod on the host network. Anything
// else could be any address that somebody wrote into an EndpointSlice.
func (x *Index) endpoint(e discoveryv1.Endpoint, port uint16) (Route, bool) {
	if !ready(e) || len(e.Addresses) == 0 || e.NodeName == nil {
		return Route{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	n := x.nodes[*e.NodeName]
	if addr = addr.Unmap(); err != nil || n == nil || x.forbidden(addr, port) {
		return Route{}, false
	}
	if owner, err := x.podOwner(addr); err != nil || owner != nil {
		return n.pod(addr, port), owner == n
	}
	if !slices.Contains(n.addrs, addr) {
		return Route{}, false
	}
	routes, err := x.toNode(n, port)
	if err != nil {
		return Route{}, false
	}
	return routes[0], true
}

// Turn returns the routes rotated by n, those that can be dialled directly
// still first: so callers share a Service's endpoints.
func Turn(routes []Route, n uint64) []Route {
	split := slices.IndexFunc(routes, func(r Route) bool { return !r.Direct.IsValid() })
	if split < 0 {
		split = len(routes)
	}
	return append(rotate(routes[:split], n), rotate(routes[split:], n)...)
}

func rotate(routes []Route, n uint64) []Route {
	if len(routes) == 0 {
		return nil
	}
	k := int(n % uint64(len(routes)))
	return append(slices.Clone(routes[k:]), routes[:k]...)
}
