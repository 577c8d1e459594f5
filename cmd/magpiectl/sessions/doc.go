// SPDX-License-Identifier: Apache-2.0

// Package sessions is what magpiectl tunnel reports: which nodes the O&M tunnel
// reaches, through which instances of the gateway, how fast and until when.
//
// # Model
//
//	Input (each instance's /sessions and /metrics, nodes) --Build--> Report --Text--> people
//	                                                                   |
//	                                                                   +--JSON--> programs
//
// # Why this way
//
// Instances know only their own sessions; a node is connected to each. The
// report turns that around: a row a node, which is what a person asks for.
//
// # Invariants
//
// OK is true exactly if Problems is empty. An instance that could not be asked
// is a problem and never an instance without sessions.
//
// # Not here
//
// Reading instances (magpiectl), certificates and streams themselves.
package sessions
