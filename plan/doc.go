// SPDX-License-Identifier: Apache-2.0

// Package plan describes the kernel objects a node should have, as values.
//
// # Model
//
// A planner (cni, vxlan, tunnel/mesh, …) turns a fleet.View into a Plan. A
// Plan is lists of flat comparable structs, one kernel object each:
//
//	fleet.View --planner--> Plan (want) --\
//	                                       Diff --> []Step --> kernel.Apply
//	kernel.Observe -------> Plan (have) --/
//
// Each item has a Key, which says what it is, and the rest of its fields,
// which say how it should be. Same key and unequal: change. Key only wanted:
// add. Key only there: remove.
//
// # Why this way
//
// Items hold no slices, maps or pointers, so equality is == and a golden file
// can hold a plan one line an item. Variable-length parts (allowed IPs, set
// members) are items of their own, so that one new site is one write and not
// the replacement of a list.
//
// # Invariants
//
// Diff(have, want) applied to have gives want. Diff(x, x) is empty. Adds and
// changes come before removals (make before break), adds in the order in which
// objects depend on each other and removals in the reverse.
//
// # Not here
//
// How an object is written (kernel), and why it is wanted (the planners).
package plan
