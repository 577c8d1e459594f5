// SPDX-License-Identifier: Apache-2.0

package matrix

import "time"

// Report is the result of one run. Its JSON is documented in
// docs/reference/magpiectl-json.md; fields are added, never changed.
type Report struct {
	// OK is true if there is no hole.
	OK bool `json:"ok"`
	// Failures name every hole with its reason.
	Failures  []Failure `json:"failures"`
	StartedAt time.Time `json:"startedAt"`
	// Seconds from start to the last answer.
	Seconds float64 `json:"seconds"`
	Nodes   []Node  `json:"nodes"`
	// Pairs has every ordered pair of nodes, each node with itself too, once a
	// family.
	Pairs []Pair `json:"pairs"`
	// Service is each node's way to a Service by its name.
	Service []Reach `json:"service"`
	// Outside is each node's way out of the cluster; empty if there was
	// nothing to reach.
	Outside []Reach `json:"outside"`
}

// Failure is one hole.
type Failure struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Family is "IPv4" or "IPv6", "" where it does not matter.
	Family string `json:"family,omitempty"`
	// Probe that failed: "node", "pod", "tcp", "udp", "mtu", "dns", "service"
	// or "outside".
	Probe  string `json:"probe"`
	Reason string `json:"reason"`
}

// Node is one node with its server pod.
type Node struct {
	Name   string `json:"name"`
	Domain string `json:"domain,omitempty"`
	// Addrs are those of the server pod.
	Addrs []string `json:"addrs"`
}

// Pair is from one node's pod to another's.
type Pair struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Family string `json:"family"`
	TCP    Result `json:"tcp"`
	UDP    Result `json:"udp"`
	MTU    MTU    `json:"mtu"`
	// Path is how the plans of the nodes lead the packet; nil if the cluster
	// has no DomainSlices.
	Path *Path `json:"path,omitempty"`
}

// Result is one round trip.
type Result struct {
	OK bool `json:"ok"`
	// Micros is the fastest of three round trips in microseconds.
	Micros int64  `json:"micros,omitempty"`
	Error  string `json:"error,omitempty"`
}

// MTU is a packet as large as the path should carry.
type MTU struct {
	OK bool `json:"ok"`
	// Bytes the path carried.
	Bytes int `json:"bytes,omitempty"`
	// Passes is the largest packet that did get through a black hole.
	Passes int    `json:"passes,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Path is how a packet goes.
type Path struct {
	// Kind is "same-node", "overlay", "link" or "none".
	Kind string `json:"kind"`
	// Nodes it crosses, both ends among them.
	Nodes []string `json:"nodes"`
	// Relay is the domain that passes it on.
	Relay string `json:"relay,omitempty"`
	// Problem is why the plans do not lead there.
	Problem string `json:"problem,omitempty"`
}

// Reach is one node's way to a Service or out.
type Reach struct {
	From   string `json:"from"`
	Target string `json:"target"`
	// DNS, only for a Service: asking CoreDNS for its address.
	DNS *Result `json:"dns,omitempty"`
	TCP Result  `json:"tcp"`
	// UDP, only for a Service.
	UDP *Result `json:"udp,omitempty"`
}
