// SPDX-License-Identifier: Apache-2.0

// Command magpiectl shows an operator what the network is, what is wrong with
// it, why, and what to do. It is also a kubectl plugin: under the name
// kubectl-magpie it answers to "kubectl magpie".
//
// # Model
//
//	flags --> env (writers, clients) --> a command --> a report value --> text or JSON
//
// A command gathers a report, a plain value; one function renders it for
// people and encoding/json renders it for programs. The exit status is 0 when
// all is well, 1 when the answer is no (a hole in the matrix, a fault in the
// status) and 2 when there was no answer.
//
// # Why this way
//
// The report is the contract (docs/reference/magpiectl-json.md), so text may
// become better without breaking a script. Everything that a command learns
// comes from the Kubernetes API or from a fleet.json, so that magpiectl works
// from an operator's laptop while the tunnel it is asked about is broken.
//
// # Invariants
//
// No command writes to the cluster but connectivity, which works in a
// namespace of its own and deletes it, and join and leave. Output never holds
// colour unless it goes to a terminal.
//
// # Not here
//
// How a packet goes (internal/walk), what a node should have (the planners),
// what it has (kernel).
package main
