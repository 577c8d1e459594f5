// SPDX-License-Identifier: Apache-2.0

// Package cni gives a pod its network: the plumbing as a plan, the verbs of
// the Container Network Interface, and the ledger of addresses.
//
// # Model
//
//	runtime -> magpie-cni -> cni/shim ===socket===> Server.Handle
//	                                                    |
//	   ADD    reserve (Ledger) -> Apply(nothing, Plan) -> commit (Ledger)
//	   DEL    Apply(Teardown(Plan), nothing) -> release (Ledger)
//	   CHECK  Diff(Observe, Plan) is empty
//	   GC     release what is not valid; then the repair loop
//	   STATUS looks at memory only: the runtime asks every five seconds
//
// A pod is a point-to-point veth pair, no bridge. In the pod: its address as
// /32 (/128), a default route via 169.254.1.1 (fe80::1), and a permanent
// neighbour entry that points it at the host's end. On the host: one route and
// one permanent neighbour per address. Nobody asks "who has", so neither proxy
// ARP nor an address on the host's end is needed.
//
// What a node does for all of its pods (masquerade, hostPorts, accept rules,
// forwarding) is Masquerade. Desire joins it with the plans of the live pods;
// the agent's "cni" loop keeps the kernel equal to that, which is what brings
// a deleted route, veth pair, table or map element back.
//
// # Why this way
//
// ADD is the same Apply as the loop's, so there is one piece of code that
// makes a pod and one that repairs it, and rollback is Apply backwards. A
// hostPort is an element of one nftables map: ADD writes it without running
// another program, and two pods cannot get in each other's way.
//
// The ledger is a journal of lines with checksums, held in memory, and not a
// database. A node has a few hundred addresses; a reboot makes all of them
// free. So it needs neither pages nor an index, and no fsync on the way of an
// ADD: what a process wrote survives the process, and what power loss takes
// away the boot id in the first line would have made void anyway. Bbolt costs
// two fsyncs a transaction (several milliseconds on a shop's SD card) to
// protect what nobody will read. Order makes it crash-safe: reserve, program,
// commit. A line cut short is the mark of a crash and is dropped; a ledger
// damaged otherwise is rebuilt from what the kernel has, with a warning.
//
// Freed addresses rest (30 s) before they are given out again: peers keep
// conntrack entries and DNS answers for a while, and a new pod must not
// receive a dead one's packets. If the range is full the longest rested is
// taken at once.
//
// # Invariants
//
// An address is in the ledger before any kernel object uses it, and no longer
// free until the last of them is gone. One key (container id, interface) is
// worked on by one verb at a time. A repair round never touches a pod on which
// a verb works or worked since the round began. Nothing waits for the API
// server. A pod is given up without the runtime's word only when both its
// namespace and its veth pair are gone.
//
// # Not here
//
// The socket's protocol (cni/shim), files (cni/disk), how objects get into the
// kernel (kernel), how pods of other nodes are reached (vxlan, tunnel/mesh).
package cni
