// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is Magpie's own API group, net.magpie.dev: only what the
// APIs of Raven and OpenYurt cannot say.
//
// +groupName=net.magpie.dev
// +kubebuilder:object:generate=true
package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodesPerSlice is the most nodes a DomainSlice holds.
const NodesPerSlice = 200

// DomainSlice is a part of one network domain, written by magpie-manager and
// read by every agent instead of the Nodes: a cluster of 5,000 nodes then
// costs an edge a few small objects and not a stream of heartbeats.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:metadata:labels="app.kubernetes.io/part-of=magpie"
// +kubebuilder:printcolumn:name="Domain",type=string,JSONPath=`.spec.domain`
// +kubebuilder:printcolumn:name="Cloud",type=boolean,JSONPath=`.spec.cloud`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DomainSlice struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              DomainSliceSpec `json:"spec"`
}

// DomainSliceSpec says who is in the domain and who are its gateways.
type DomainSliceSpec struct {
	// Domain is the name of the Gateway object that stands for the domain.
	Domain string `json:"domain"`
	// Cloud is true for the domain that edges dial and that relays.
	Cloud bool `json:"cloud,omitempty"`
	// Private is true when the domain has a private line to the cloud.
	Private bool `json:"private,omitempty"`
	// Nodes in the order in which they joined, so that one node more rewrites
	// one slice.
	// +kubebuilder:validation:MaxItems=200
	Nodes []SliceNode `json:"nodes,omitempty"`
	// Gateways of the domain; in its first slice only.
	Gateways []SliceGateway `json:"gateways,omitempty"`
	// ExtraCIDRs the domain owns beside pod CIDRs; in its first slice only.
	ExtraCIDRs []string `json:"extraCIDRs,omitempty"`
	// Tunnels are where agents dial magpie-gateway, "host:port" with an address
	// or a name, sorted; in the first slice of a cloud domain only.
	// +kubebuilder:validation:MaxItems=64
	Tunnels []string `json:"tunnels,omitempty"`
}

// SliceNode is one node as its neighbours need it.
type SliceNode struct {
	Name string `json:"name"`
	Pool string `json:"pool,omitempty"`
	// Addresses are where its VTEPs listen, at most one per family.
	Addresses []string `json:"addresses,omitempty"`
	// PodCIDRs are Node.spec.podCIDRs.
	PodCIDRs []string `json:"podCIDRs,omitempty"`
	VTEPMAC  string   `json:"vtepMAC,omitempty"`
	VTEPMAC6 string   `json:"vtepMAC6,omitempty"`
}

// SliceGateway is one gateway node of the domain.
type SliceGateway struct {
	Node string `json:"node"`
	// PublicKey of its WireGuard device, base64, copied from its LinkReport.
	PublicKey string `json:"publicKey,omitempty"`
	// Endpoints are "address:port" where peers dial it; empty behind NAT.
	Endpoints []string `json:"endpoints,omitempty"`
	// Active is true for the elected gateway.
	Active bool `json:"active,omitempty"`
	// MTU is the largest packet its links carry, in bytes.
	MTU int32 `json:"mtu,omitempty"`
}

// DomainSliceList is a list of DomainSlices.
//
// +kubebuilder:object:root=true
type DomainSliceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DomainSlice `json:"items"`
}

// LinkReport is what one node says of its end of the links. It is named after
// the node and only that node's agent may write it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=lr
// +kubebuilder:metadata:labels="app.kubernetes.io/part-of=magpie"
// +kubebuilder:printcolumn:name="Driver",type=string,JSONPath=`.spec.driver`
// +kubebuilder:printcolumn:name="Peers",type=integer,JSONPath=`.status.peers`
// +kubebuilder:printcolumn:name="Live",type=integer,JSONPath=`.status.live`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type LinkReport struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              LinkReportSpec   `json:"spec,omitempty"`
	Status            LinkReportStatus `json:"status,omitempty"`
}

// LinkReportSpec is what peers need in order to talk to the node.
type LinkReportSpec struct {
	// PublicKey of the node's WireGuard device, base64.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9+/]{43}=$`
	PublicKey string `json:"publicKey,omitempty"`
	// Driver is what speaks WireGuard: "kernel", or "userspace" inside the agent;
	// absent on a node that is no gateway.
	// +kubebuilder:validation:Enum=kernel;userspace
	Driver string `json:"driver,omitempty"`
	// MTU is the largest packet its links carry, in bytes.
	// +kubebuilder:validation:Minimum=1280
	// +kubebuilder:validation:Maximum=9500
	MTU int32 `json:"mtu,omitempty"`
}

// LinkReportStatus is what the node sees of its peers.
type LinkReportStatus struct {
	// Peers is how many peers the node has, Live how many of them it hears.
	Peers int32 `json:"peers,omitempty"`
	Live  int32 `json:"live,omitempty"`
	// Links has one entry a peer, sorted by node.
	Links []LinkState `json:"links,omitempty"`
	// Agent is the version of the magpie-agent that wrote this.
	Agent string `json:"agent,omitempty"`
	// Conditions are what has been wrong with the node for a while, worst
	// first. What the agent cannot write because it is cut off is not here.
	// +kubebuilder:validation:MaxItems=16
	Conditions []AgentCondition `json:"conditions,omitempty"`
	// Notes say what of this node the agent has left out of its plans, and why.
	// +kubebuilder:validation:MaxItems=16
	Notes []AgentNote `json:"notes,omitempty"`
}

// AgentCondition is trouble that lasts, as docs/runbooks has it.
type AgentCondition struct {
	// Code is the name of its runbook: "loop-failing".
	Code string `json:"code"`
	// Subject is what it is about: "loop vxlan".
	Subject string `json:"subject,omitempty"`
	// Severity is "info", "warning" or "error".
	Severity string `json:"severity"`
	// Since is when it began.
	Since metav1.Time `json:"since"`
	// Detail is what was seen when it was first written; it does not follow
	// later changes, which would be a write each.
	// +kubebuilder:validation:MaxLength=512
	Detail string `json:"detail,omitempty"`
}

// AgentNote is one thing that one would expect in a plan and that is not there.
type AgentNote struct {
	Code    string `json:"code"`
	Subject string `json:"subject,omitempty"`
	// +kubebuilder:validation:MaxLength=512
	Text string `json:"text,omitempty"`
}

// LinkState is one peer as this node sees it.
type LinkState struct {
	// Node at the other end.
	Node string `json:"node"`
	// Domain it is in.
	Domain string `json:"domain,omitempty"`
	// Endpoint is "address:port" from which the peer's packets arrive: behind
	// NAT this is the only place where that is known.
	Endpoint string `json:"endpoint,omitempty"`
	// Path is "internet", "private" or "relay".
	Path string `json:"path,omitempty"`
	// Live is true while the node hears the peer: within half a minute if the
	// peer carries traffic, within four minutes if it is only kept warm.
	Live bool `json:"live"`
	// LastHeard is when a peer that is not live was last heard; absent while it
	// lives, so that a live link costs no writes, and if it never was.
	LastHeard *metav1.Time `json:"lastHeard,omitempty"`
	// RTTMicros is the round trip in microseconds; 0 means not measured yet.
	RTTMicros int64 `json:"rttMicros,omitempty"`
}

// LinkReportList is a list of LinkReports.
//
// +kubebuilder:object:root=true
type LinkReportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []LinkReport `json:"items"`
}
