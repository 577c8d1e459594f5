// SPDX-License-Identifier: Apache-2.0

// Package directory finds the node behind whatever a caller of the tunnel
// names: a node, an address of one, a pod, a Service.
//
// # Model
//
//	Objects --New--> Index --Resolve("web.shop.svc", 443)--> Routes
//
// An Index is immutable and made anew when the objects change. A Route is a
// node, what to dial there, and whether the gateway may dial it itself.
//
// # Why this way
//
// A name that is not in the index does not resolve: there is no way from here
// to an address that is not a node's, a pod's or an endpoint's, so a caller can
// not use the gateway to look around in its network.
//
// # Invariants
//
// Resolve is a pure function of the objects. An address that two nodes have
// (two shops, both 192.168.1.11) is refused and never guessed. The gateway's
// loopback, link-local and metadata addresses and the API server's own are
// refused whatever an object says of them.
//
// # Not here
//
// Watching the objects, and whether a caller may ask (cluster). Which ports are
// open (tunnel/stream).
package directory
