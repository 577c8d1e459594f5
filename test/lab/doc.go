// SPDX-License-Identifier: Apache-2.0

// Package lab runs one real Kubernetes cluster in four network domains on one
// machine, in namespaces, with nothing pulled from a registry.
//
// # Model
//
//	fetch    builds Kubernetes, containerd, helm, CoreDNS    -> cache/bin
//	image    writes images as tars                           -> cache/images
//	machine  makes machines from namespaces                  -> cache/lab/NAME/nodes
//	world    lays cables, NAT and faults between them
//	pki      makes certificates                              -> cache/lab/NAME/pki
//	lab      puts a cluster on the machines: Up, Down, Attach, Exec, Break, Heal
//
// Up is a list of steps (steps.go), each of which looks whether its work is
// done. So Up after a crash goes on where the other one stopped, and Up on a
// running lab changes nothing.
//
// # Why this way
//
// The lab is what users see first and what end-to-end tests run on: the same
// chart, the same join script, the same kubectl as in production. What only
// the lab needs (cgroup v1, no registry, containers without CAP_SYS_RESOURCE)
// is machine configuration of the lab's nodes, see nodefiles.go, never an
// option of the product.
//
// # Invariants
//
//   - The host's own interfaces, routes and firewall are not part of it. The
//     only thing of the lab in the host's network is a relay on 127.0.0.1.
//   - Everything the lab writes is in the cache folder.
//   - Only processes that the lab started are ever killed, by pid and start
//     time.
//
// # Not here
//
// The product: the lab installs the chart and runs the join script as a user
// would, and imports none of its packages.
package lab
