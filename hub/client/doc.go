// SPDX-License-Identifier: Apache-2.0

// Package client is what callers of the hub need on their node: an address that
// pods reach, and files that say where the hub is and whom to trust.
//
// # Model
//
//	Settings.Hub -> Plan  -> addr 169.254.102.98/32 dev mag-hub
//	               Files -> /var/lib/magpie/hub/{ca.crt, host.kubeconfig,
//	                        pod.kubeconfig, coredns.conf}
//
// kube-proxy shares the node's network and takes 127.0.0.1. A pod has a network
// of its own, in which that is the pod: it takes the link-local address, which
// its default route carries to the host, and the host keeps.
//
// # Why this way
//
// The address is on a device of our own. One on lo would carry no mark that it
// is ours (address labels are IPv4 only, IFA_PROTO needs Linux 5.18), so no
// clean-up could tell it from another's. The device is one end of a veth pair,
// because veth is the one kind that a node with pods always has: dummy is a
// module that many do not have.
//
// The node's own address would need no device, but it would show the hub to
// everybody on the site's network, and it changes.
//
// Files instead of settings of each caller: the authority differs on every
// node, and a file that the agent takes away again is how a caller learns that
// the hub is gone for good.
//
// # Invariants
//
// Without Settings.Hub the plan is empty, so switching the hub off removes the
// device. Files hold no secret: callers show their own token.
//
// # Not here
//
// Who listens there (cmd/magpie-agent), who mounts the files (magpiectl hub).
package client
