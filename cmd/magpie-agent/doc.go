// SPDX-License-Identifier: Apache-2.0

// Command magpie-agent runs on every node and keeps its kernel equal to what
// the fleet asks: pod plumbing, the overlay, links, rules.
//
// # Model
//
//	cluster (own Node, DomainSlices) --\
//	                                    fleet.Build -> tunnel.Choose -> View
//	kernel (underlay, devices, key) ---/                                 |
//	                     +-----------------+------------------+----------+
//	                     v                 v                  v          v
//	                  vxlan.Plan        mesh.Plan         cni.Desire   report
//	                     |                 |                  |          |
//	                     +------ kernel ---+------------------+       cluster
//
// Beside the loops it is the node's end of the O&M tunnel (tunnel*.go): it dials
// the gateways that the View names, as tunnel/dial decides, and serves what they
// ask for from this node's own list.
//
// It is also the node's hub (hub*.go), where that is switched on: it tells
// package hub where nodes are, listens for kube-proxy and CoreDNS, and keeps the
// files that lead them here. What goes wrong with the hub ends nothing else.
//
// run.go is the table of contents: read it top to bottom.
//
// # Why this way
//
// One process a node holds the privilege NET_ADMIN; everything it does goes
// through loops of one shape. What arrives from the network never makes
// it write: only a View does. Nor can the cloud reach through the tunnel what the
// node's own list does not name, whatever a gateway says.
//
// # Invariants
//
// Without the API server it goes on from /var/lib/magpie/fleet.json. It removes
// nothing on exit: a stopped agent leaves every flow as it was. Only the verb
// cleanup removes.
//
// # Not here
//
// What to plan (vxlan, tunnel/mesh, cni), how to write (kernel, cluster), how
// streams are carried (tunnel/stream) and sockets opened (tunnel/wire), what callers of
// the hub are shown (hub) and how (hub/serve).
package main
