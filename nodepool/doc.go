// SPDX-License-Identifier: Apache-2.0

// Package nodepool decides who belongs where: which pool and which domain a
// node is in, which nodes carry a domain's links, and what every agent is told
// about it.
//
// # Model
//
//	Nodes, NodePools, Gateways, LinkReports
//	    |
//	    +-- Places    node -> pool, domain
//	    +-- Gateways  a Gateway for each domain that has none
//	    +-- Slices    DomainSlices: what agents read instead of Nodes
//	    +-- Status    Gateway.status and NodePool.status
//	    +-- Members   what a NodePool gives its nodes
//
// A domain is named after its Gateway. A node's own label
// raven.openyurt.io/gateway decides; without it cloud nodes are in gw-cloud, a
// node of edge pool P is in gw-P, and an edge node without a pool is a domain
// of its own.
//
// # Why this way
//
// Each planner is a function of fleet.Cluster and returns manifests: it runs in
// a test without an API server. What must not change from round to round (who
// is the active gateway, which slice a node is in) is read from the objects
// that hold it and not kept in memory, so a new leader goes on where the old
// one stopped.
//
// Slices elects by itself instead of waiting for Gateway.status: a node that
// joins is in a slice after one round and not after three.
//
// A pool's label or annotation replaces the node's own, as OpenYurt documents,
// but the node's own comes back: both stand in a record on the Node (ADR 16).
//
// # Invariants
//
// Nothing is taken from a node that its record does not name with the value it
// has. A Gateway that somebody wrote, or that we made and somebody edited, is never
// written to again (its status is). An election never ends empty because nodes
// are NotReady: the last good state stays. Pod CIDRs come from
// Node.spec.podCIDRs only, and of two nodes that claim overlapping ones the
// older keeps them. One node that joins rewrites one slice.
//
// # Not here
//
// Reading and writing the API (cluster). Whether a gateway forwards packets:
// agents find that out between themselves.
package nodepool
