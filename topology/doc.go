// SPDX-License-Identifier: Apache-2.0

// Package topology decides what one node sees of a Service: Pin keeps the
// endpoints that the node may use, Fence takes the NodePorts away that the node
// must not open.
//
// # Model
//
//	API server --Service-------> Fence --> kube-proxy, ingress controllers
//	           --EndpointSlice-> Pin   --> the same, and CoreDNS
//
//	Service annotation           value                      who may be used
//	openyurt.io/topologyKeys     kubernetes.io/hostname     endpoints of this node
//	                             openyurt.io/nodepool       endpoints of this node's pool
//	                             kubernetes.io/zone         the same as nodepool
//	nodeport.openyurt.io/listen  "np1, -np2, *"             pools that open the NodePort
//
// Close is Fence for a node whose kube-proxy does not read through the hub: the
// same NodePorts, closed in nftables before kube-proxy sees a packet to them.
//
// # Why this way
//
// Both are functions of the object, the annotation and where the reader stands,
// so the answer for any node can be computed anywhere: in a node's hub, in
// magpiectl, in a test. OpenYurt's filters ask a lister and let everything
// through when it fails; here what is unknown is an argument that the caller
// must have.
//
// # Invariants
//
// Pin is strict: no endpoint in the place means no endpoint, never a far one.
// An object that is not concerned is returned itself, the same pointer; one
// that is, is a copy. Fence never takes a ClusterIP away (OpenYurt removes the
// whole Service).
//
// # Not here
//
// Watching and answering (hub), which pool a node is in (nodepool).
package topology
