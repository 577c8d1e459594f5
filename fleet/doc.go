// SPDX-License-Identifier: Apache-2.0

// Package fleet is the cluster as one process knows it, as one immutable value.
//
// # Model
//
//	API objects --Build--> View --planners--> plans
//	                        |
//	                        +--file--> /var/lib/magpie/fleet.json
//
// A fleet is nodes in domains. A domain is a set of nodes that reach each other
// without us: the VPC, a shop, a plant. Some nodes of a domain are its
// gateways; links join gateways of different domains.
//
// # Why this way
//
// Everything a planner may look at is in the View, so a planner is a pure
// function, a customer's fleet.json reproduces a bug without root, and an agent
// that restarts offline loads the file and goes on.
//
// # Invariants
//
// A View is never changed after Build. Everything in it is sorted by name, so
// equal inputs give equal bytes. Times are values in the View, never read from
// a clock here.
//
// # Not here
//
// Reading the API (cluster), deciding who belongs where (nodepool).
package fleet
