// SPDX-License-Identifier: Apache-2.0

package status

import "time"

// Report is the state of the network. Its JSON is documented in
// docs/reference/magpiectl-json.md; fields are added, never changed.
type Report struct {
	// OK is true if there is no problem.
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
	// Hints are things to know that are not wrong.
	Hints    []string  `json:"hints"`
	Domains  []Domain  `json:"domains"`
	Gateways []Gateway `json:"gateways"`
	Links    []Link    `json:"links"`
	Pools    []Pool    `json:"pools"`
	Nodes    []Node    `json:"nodes"`

	now time.Time // when it was made, to print ages
}

// Problem is one thing that is wrong.
type Problem struct {
	// Code is constant; docs/runbooks has a page of that name for most.
	Code string `json:"code"`
	// Subject is what it is about: "node b-1", "domain gw-shop-a".
	Subject string `json:"subject"`
	Text    string `json:"text"`
	// Do says what to do next.
	Do string `json:"do"`
}

// Domain is one network domain.
type Domain struct {
	Name    string `json:"name"`
	Cloud   bool   `json:"cloud"`
	Private bool   `json:"private"`
	Nodes   int    `json:"nodes"`
	Ready   int    `json:"ready"`
	// CIDRs the domain owns.
	CIDRs []string `json:"cidrs"`
	// Gateway that is active, the first by name; "" for none.
	Gateway string `json:"gateway"`
	// NotReady are its nodes that are not Ready.
	NotReady []NotReady `json:"notReady"`
}

// NotReady is one node that is not Ready.
type NotReady struct {
	Node string `json:"node"`
	// Since is when it was last Ready; absent if it never was.
	Since *time.Time `json:"since,omitempty"`
}

// Gateway is one node that may carry its domain's links.
type Gateway struct {
	Node   string `json:"node"`
	Domain string `json:"domain"`
	Active bool   `json:"active"`
	Ready  bool   `json:"ready"`
	// Key is true once its public key is known to its peers.
	Key bool `json:"key"`
	// Endpoints are where peers dial it; empty behind NAT.
	Endpoints []string `json:"endpoints"`
	// Driver is "kernel", "userspace" or "" while it has not said.
	Driver string `json:"driver"`
	// MTU in bytes of its links; 0 while it has not said.
	MTU int `json:"mtu"`
}

// Link is one tunnel between two gateways.
type Link struct {
	Gateway string `json:"gateway"`
	Domain  string `json:"domain"`
	Peer    string `json:"peer"`
	// PeerDomain is the domain of Peer.
	PeerDomain string `json:"peerDomain"`
	Path       string `json:"path"`
	// State is "live", "down" (an end does not hear the other) or "unknown":
	// nobody has reported yet.
	State string `json:"state"`
	// LastHeard is when an end last heard the other, if the link is down and
	// ever was not.
	LastHeard *time.Time `json:"lastHeard,omitempty"`
	// RTTMicros is the round trip in microseconds; 0 means not measured.
	RTTMicros int64 `json:"rttMicros"`
	// Endpoint is where the side that is dialled sees the other.
	Endpoint string `json:"endpoint"`
	MTU      int    `json:"mtu"`
	// Carries names the domains that are reached from Domain by it.
	Carries []string `json:"carries"`
}

// Pool is one node pool.
type Pool struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Nodes int    `json:"nodes"`
	Ready int    `json:"ready"`
}

// Node is one node.
type Node struct {
	Name   string `json:"name"`
	Domain string `json:"domain"`
	Pool   string `json:"pool"`
	Ready  bool   `json:"ready"`
	// NotReadySince is when a node that is not Ready last was; absent if never.
	NotReadySince *time.Time `json:"notReadySince,omitempty"`
	// Reason is why it is not Ready, in the words of Kubernetes.
	Reason string `json:"reason,omitempty"`
	// Addresses are where its VTEPs listen.
	Addresses []string `json:"addresses"`
	PodCIDRs  []string `json:"podCIDRs"`
	// VTEP is true once the node has published the MAC of its overlay.
	VTEP bool `json:"vtep"`
}

// States of a Link.
const (
	Live    = "live"
	Down    = "down"
	Unknown = "unknown"
)
