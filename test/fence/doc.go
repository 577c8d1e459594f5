// SPDX-License-Identifier: Apache-2.0

// Package fence is a node with a neighbour and a pod, and calls between them,
// for tests of NodePorts that are closed in nftables.
//
// # Model
//
//	outside 10.9.0.2 ---lan--- node 10.9.0.1 ---cable--- pod 10.42.1.1
//	                           10.42.1.254
//
// # Why this way
//
// What a caller meets is asked of real sockets in the real kernel: a rule that
// is there but comes too late, or hides an address it should not, looks right
// in every listing.
//
// # Invariants
//
// Everything happens in namespaces that the test made.
//
// # Not here
//
// What should be closed (topology), kube-proxy beside it (test/hub/clients).
package fence
