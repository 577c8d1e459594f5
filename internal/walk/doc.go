// SPDX-License-Identifier: Apache-2.0

// Package walk follows a packet through the plans of the nodes it crosses.
//
// # Model
//
//	views --planners--> plan of each node
//	                      |
//	packet --> firewall, route, neighbour, FDB or peer --> next node --> ... --> verdict
//
// A Fleet holds one View a node and derives a node's plan when a packet first
// reaches it. Walk does what the kernel would do with those objects: the rules
// of the prerouting hook, policy routing, the longest prefix, the rules of the
// forward and postrouting hooks; then the overlay (neighbour, FDB, the VTEP at
// the other side) or the link (allowed IPs, peer, the peer's own check of the
// source). Each step becomes a Hop with its reason.
//
// # Why this way
//
// The planners are pure, so what every node should do is known without asking
// any of them. An operator gets an answer while the path is broken, and a test
// states as a table of flows what no golden of routes says: that they fit
// together.
//
// # Invariants
//
// A rule this package does not understand is an error, never a guess. A packet
// takes at most 32 hops. Equal input gives equal output.
//
// # Not here
//
// What the nodes really have (kernel, shown by magpiectl plan), whether
// packets get through (magpiectl connectivity), Services (kube-proxy's rules).
package walk
