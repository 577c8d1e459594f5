// SPDX-License-Identifier: Apache-2.0

package sessions

import "time"

// Report is the state of the O&M tunnel. Its JSON is documented in
// docs/reference/magpiectl-json.md; fields are added, never changed.
type Report struct {
	// OK is true if there is no problem.
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
	// Notes are worth knowing and not wrong.
	Notes []Problem `json:"notes"`
	// Off is why there is no tunnel, "" if there is one.
	Off       string     `json:"off"`
	Instances []Instance `json:"instances"`
	Nodes     []Node     `json:"nodes"`

	now time.Time
}

// Problem is one thing that is wrong, or worth knowing.
type Problem struct {
	// Code is constant; docs/runbooks has a page of that name.
	Code string `json:"code"`
	// Subject is what it is about: "node b-1", "gateway magpie-gateway-5d".
	Subject string `json:"subject"`
	Text    string `json:"text"`
	// Do says what to do next.
	Do string `json:"do"`
}

// Instance is one magpie-gateway.
type Instance struct {
	// Pod is its name, "namespace/name".
	Pod string `json:"pod"`
	// Host is the node it runs on.
	Host  string `json:"host"`
	Ready bool   `json:"ready"`
	// Error is why it could not be asked; "" if it answered.
	Error    string `json:"error"`
	Version  string `json:"version"`
	Draining bool   `json:"draining"`
	// Sessions and Streams count nodes connected to it and streams open there.
	Sessions int `json:"sessions"`
	Streams  int `json:"streams"`
	// Peers are the other instances that it can ask.
	Peers []string `json:"peers"`
	// CertificateUntil is when its certificate ends; absent if it has none.
	CertificateUntil *time.Time `json:"certificateUntil,omitempty"`
	// Refused counts streams that were not opened since it started, by reason.
	Refused map[string]int64 `json:"refused"`
}

// Node is one node and its sessions.
type Node struct {
	Name   string `json:"name"`
	Domain string `json:"domain"`
	Ready  bool   `json:"ready"`
	// Dials is true if the node's agent is to dial the gateways.
	Dials bool `json:"dials"`
	// Agent is the version that the node's agent said.
	Agent    string    `json:"agent"`
	Sessions []Session `json:"sessions"`
}

// Session is what a node has open to one instance.
type Session struct {
	// Pod of the instance.
	Pod string `json:"pod"`
	// Since is when its first connection came.
	Since time.Time `json:"since"`
	// Remote is where the newest connection comes from.
	Remote string `json:"remote"`
	// Via is the neighbour that carries the newest connection, "address:port"; ""
	// if the node reaches the instance itself.
	Via string `json:"via,omitempty"`
	// Connections are two, more while a certificate is renewed.
	Connections int `json:"connections"`
	// Streams that are open.
	Streams int   `json:"streams"`
	Bytes   int64 `json:"bytes"`
	// RTTMicros is the round trip in microseconds; 0 means not measured.
	RTTMicros int64 `json:"rttMicros"`
	// CertificateUntil is when the node's certificate ends.
	CertificateUntil time.Time `json:"certificateUntil"`
}
