// SPDX-License-Identifier: Apache-2.0

// Package vxlan plans how a node reaches pods of its domain with an overlay,
// and the gateways of its domain for pods of all others.
//
// # Model
//
// One VXLAN device a family. For every other node of the domain three objects:
//
//	route  10.42.3.0/24 via 10.42.3.0 dev mag-vxlan onlink
//	neigh  10.42.3.0 lladdr <the node's VTEP MAC>
//	fdb    <the node's VTEP MAC> dst <the node's address>
//
// A pod CIDR of another domain is one more route, via the pod CIDR's first
// address of the gateway of our own domain that carries the link: over the
// same device, so there is no second overlay.
//
// # Why this way
//
// The objects are those that Flannel makes, so a node that runs flanneld and a
// node of ours exchange pod traffic and a cluster moves node by node. Flannel
// writes them once for each event and never looks again; here they are a plan.
//
// # Invariants
//
// The device's address is the first of the node's pod CIDR: what the host
// itself sends to a pod leaves with an address that every domain can route
// back. Node addresses are used inside their domain only.
//
// # Not here
//
// Tunnels between domains (tunnel/mesh), a pod's own plumbing (cni).
package vxlan
