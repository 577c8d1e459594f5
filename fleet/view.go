// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"net/netip"
	"time"
)

// View is the fleet as this process knows it. Treat it as immutable.
type View struct {
	// Self is the node this process runs on; the zero Self in the manager.
	Self Self `json:"self"`
	// Domains are all network domains, sorted by name.
	Domains []Domain `json:"domains"`
	// Links say how other domains are reached from ours, sorted by domain.
	Links []Link `json:"links,omitempty"`
	// Settings are the cluster-wide choices of the operator.
	Settings Settings `json:"settings"`
	// ReadAt is when the sources were last known to be current.
	ReadAt time.Time `json:"readAt"`
	// Stale is true when the View was loaded from disk because the API server
	// could not be reached. Planners treat a stale View like any other.
	Stale bool `json:"stale,omitempty"`
}

// Settings are choices that hold for the whole cluster.
type Settings struct {
	// ClusterCIDRs are the ranges that all pod CIDRs come from, one or two.
	ClusterCIDRs []netip.Prefix `json:"clusterCIDRs"`
	// NonMasquerade lists destinations outside the cluster towards which pods
	// keep their own address.
	NonMasquerade []netip.Prefix `json:"nonMasquerade,omitempty"`
	// VNI and Port of the overlay. Defaults: api.VNI and api.PortVXLAN.
	VNI  int `json:"vni"`
	Port int `json:"port"`
	// MTU of the pods in bytes; 0 derives it from the underlay.
	MTU int `json:"mtu,omitempty"`
	// Links is false when raven-cfg says enable-l3-tunnel: "false".
	Links bool `json:"links"`
	// FastPath is true where the packets of established connections between pods
	// go past the host's IP stack.
	FastPath bool `json:"fastPath,omitempty"`
	// FastPathLacks is why they do not, where they would if the kernel could.
	FastPathLacks string `json:"fastPathLacks,omitempty"`
	// Hub is true where the node's hub is to be reached by pods.
	Hub bool `json:"hub,omitempty"`
	// Fence is true where NodePorts are closed in nftables.
	Fence bool `json:"fence,omitempty"`
}

// Self is what a node knows about itself from its own host.
type Self struct {
	Node string `json:"node"`
	// Domain is the name of the domain this node is in; "" before it has one.
	Domain string `json:"domain"`
	// PodCIDRs are the node's own, at most one per family (Node.spec.podCIDRs).
	PodCIDRs []netip.Prefix `json:"podCIDRs"`
	// Underlay4 and Underlay6 are where overlay packets leave; zero if the
	// node has no address of that family.
	Underlay4 Underlay `json:"underlay4"`
	Underlay6 Underlay `json:"underlay6"`
	// VTEPMAC and VTEPMAC6 are the MACs our VXLAN devices have or shall have.
	VTEPMAC  string `json:"vtepMAC"`
	VTEPMAC6 string `json:"vtepMAC6"`
	// LinkKey is the base64 public key of this node's WireGuard device; "" on
	// a node that is no gateway candidate.
	LinkKey string `json:"linkKey,omitempty"`
	// Heard is where the peers of its links were last heard, sorted by key: a
	// gateway that restarts calls them there and need not wait to be called.
	Heard []Heard `json:"heard,omitempty"`
}

// Heard is where one WireGuard peer was last heard.
type Heard struct {
	PublicKey string         `json:"publicKey"` // base64
	At        netip.AddrPort `json:"at"`
}

// Underlay is the interface and address that carry encapsulated packets.
type Underlay struct {
	Dev  string     `json:"dev"`
	Addr netip.Addr `json:"addr"`
	MTU  int        `json:"mtu"` // bytes
}

// OK reports whether the node has an underlay of that family.
func (u Underlay) OK() bool { return u.Dev != "" && u.Addr.IsValid() }

// Domain is a set of nodes that reach each other without us.
type Domain struct {
	// Name is the name of its Gateway object: "gw-cloud", "gw-shop-a".
	Name string `json:"name"`
	// Cloud is true for the domain that edges dial: its gateways are reachable
	// from outside, and it relays between domains that cannot reach each other.
	Cloud bool `json:"cloud,omitempty"`
	// Private is true when the domain has a private line to the cloud.
	Private bool `json:"private,omitempty"`
	// Nodes are sorted by name.
	Nodes []Node `json:"nodes"`
	// Gateways are sorted by node name; empty means that the domain has no link.
	Gateways []Gateway `json:"gateways,omitempty"`
	// Extra are CIDRs the domain owns beside its nodes' pod CIDRs.
	Extra []netip.Prefix `json:"extra,omitempty"`
	// Tunnels are where agents dial magpie-gateway, "host:port", sorted; the
	// host is an address or a name. Empty in an edge domain.
	Tunnels []string `json:"tunnels,omitempty"`
}

// Node is one node of the fleet, as others see it.
type Node struct {
	Name string `json:"name"`
	Pool string `json:"pool,omitempty"`
	// Addr4 and Addr6 are where its VTEPs listen (its internal addresses, or
	// what Flannel's public-ip annotations say). Meaningful inside its domain
	// only: two shops may both use 192.168.1.11.
	Addr4 netip.Addr `json:"addr4,omitzero"`
	Addr6 netip.Addr `json:"addr6,omitzero"`
	// PodCIDRs come from Node.spec.podCIDRs, never from what the node claims.
	PodCIDRs []netip.Prefix `json:"podCIDRs,omitempty"`
	// VTEPMAC and VTEPMAC6 are as published in Flannel's annotations; "" until
	// the node has published them.
	VTEPMAC  string `json:"vtepMAC,omitempty"`
	VTEPMAC6 string `json:"vtepMAC6,omitempty"`
}

// Gateway is a node that carries its domain's links.
type Gateway struct {
	Node string `json:"node"`
	// PublicKey of its WireGuard device, base64; "" until published: such a
	// gateway is not used.
	PublicKey string `json:"publicKey,omitempty"`
	// Endpoints are where peers dial it, best first; empty behind NAT.
	Endpoints []netip.AddrPort `json:"endpoints,omitempty"`
	// Active is true for the gateway elected to carry traffic.
	Active bool `json:"active,omitempty"`
	// MTU is the largest packet its links carry, in bytes; 0 means the default.
	MTU int `json:"mtu,omitempty"`
}

// Link is how the nodes of our own domain reach another domain. tunnel.Choose
// fills View.Links; the planners only follow them.
type Link struct {
	// Domain at the other end.
	Domain string `json:"domain"`
	// Gateway is the node of our domain that carries the link.
	Gateway string `json:"gateway"`
	// Peer is the gateway node at the far end of the tunnel: of Domain, or of
	// the domain that relays.
	Peer string `json:"peer"`
	// Relay is the domain that relays; "" when the tunnel ends in Domain.
	Relay string `json:"relay,omitempty"`
	// Path is what carries it: "internet" or "private"; later "punched", "tls".
	Path string `json:"path"`
	// MTU is the largest packet the link carries, in bytes.
	MTU int `json:"mtu"`
}
