// SPDX-License-Identifier: Apache-2.0

// Package overlay measures pod to pod across two nodes of one domain: our
// point-to-point veth and VXLAN against a bridge and VXLAN as Flannel makes it.
//
// # Model
//
//	pod 10.42.1.2 -- node 10.0.0.1 ==VXLAN over a veth== node 10.0.0.2 -- pod 10.42.2.2
//
// Both layouts exist side by side, each with two nodes and two pods in network
// namespaces of their own. Ours is made by the product itself: vxlan.Plan,
// cni.Plan and cni.Masquerade, applied by the kernel door. The peer's is made
// by netlink and iptables-restore, object by object as flanneld 0.28 and the
// bridge plugin make it.
//
// # Why this way
//
// Client and server share one CPU, so a rate is the inverse of the CPU time
// that a transaction costs on the whole way. The wire is a veth pair: no
// driver, no interrupt of a real card, just what the layouts differ in.
//
// # Invariants
//
// Conntrack works on every packet in both layouts, and the bridge hands
// packets to iptables, because kube-proxy needs both.
//
// # Not here
//
// Links between domains (link), what an ADD costs (cni).
package overlay
