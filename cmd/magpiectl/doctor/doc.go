// SPDX-License-Identifier: Apache-2.0

// Package doctor names what is wrong with a Magpie network and the one thing
// to do about each.
//
// # Model
//
//	Patient (facts) --Check.Look--> []Finding --hide, sort--> Report --Text--> people
//	                                                             |
//	                                                             +--JSON--> programs
//
// A Check looks at one thing; Checks lists them in the order in which a person
// would. A Patient is the cluster seen from the operator's side; a Machine is
// one node seen from itself.
//
// # Why this way
//
// A check is a small type with two methods over facts that somebody else has
// gathered, so that it is tried with facts that no test could bring about. What
// could not be read (rights, an old cluster) is a check that was skipped, with
// the reason, and never a fault of the network.
//
// One cause has many effects: a finding hides while another that it depends on
// holds for the same node, link, domain or the whole cluster.
//
// # Invariants
//
// Every finding has a code with a runbook, says why it matters and what to do.
// OK is true exactly if no finding is an error. The worst stands first. Nothing
// here writes.
//
// # Not here
//
// Reading the API and the node's files (magpiectl), trying whether packets get
// through (magpiectl connectivity).
package doctor
