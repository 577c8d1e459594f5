// SPDX-License-Identifier: Apache-2.0

// Package tunnel decides which path two domains use.
//
// # Model
//
//	              cloud domain (relays)
//	              gateway   gateway
//	              /     \   /     \
//	edge gateway /       \ /       \ edge gateway
//	shop-a                X         shop-b
//
// Choose answers, for the domain this node is in: through which of our
// gateways does each other domain lie, who is at the far end of that tunnel,
// and does a third domain relay. The answer is a list of fleet.Link, which
// vxlan follows on every node and mesh on the gateways.
//
// # Why this way
//
// Every node computes the same answer from the same View, so no node has to be
// told. Which cloud gateway serves an edge domain is rendezvous hashing: the
// sites spread evenly, and losing one gateway moves only the sites it served.
//
// # Invariants
//
// Choose is pure. Both ends of a link choose the same pair of gateways when
// their Views agree. A gateway without a published key is never chosen.
//
// # Not here
//
// Peers and keys (tunnel/mesh), sockets (tunnel/wire), the O&M tunnel
// (tunnel/stream). Choice among several live paths of one link (private line,
// punched, TLS) by measurement has its place in fleet.Link.Path; until it
// exists every link uses PathInternet.
package tunnel
