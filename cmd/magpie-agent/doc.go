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
// run.go is the table of contents: read it top to bottom.
//
// # Why this way
//
// One process a node holds the privilege NET_ADMIN; everything it does goes
// through four loops of one shape. What arrives from the network never makes
// it write: only a View does.
//
// # Invariants
//
// Without the API server it goes on from /var/lib/magpie/fleet.json. It removes
// nothing on exit: a stopped agent leaves every flow as it was. Only the verb
// cleanup removes.
//
// # Not here
//
// What to plan (vxlan, tunnel/mesh, cni), how to write (kernel, cluster).
package main
