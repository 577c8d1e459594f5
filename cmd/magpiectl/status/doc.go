// SPDX-License-Identifier: Apache-2.0

// Package status is what magpiectl status reports: domains, gateways, links
// and nodes at a glance, and what is wrong with them.
//
// # Model
//
//	Input (what the API says) --Build--> Report --Text--> people
//	                                        |
//	                                        +--JSON--> programs
//
// A link is shown as the tunnel between two gateways that carries it: sites
// that reach each other by a relay use the tunnels of both. Which tunnels
// there are is what tunnel.Choose answers for each domain; whether one lives
// is what the gateways at its ends report.
//
// # Why this way
//
// The planners already know a word for everything they refuse, so status asks
// them and does not judge a second time.
//
// # Invariants
//
// OK is true exactly if Problems is empty. Every problem says what to do.
//
// # Not here
//
// Reading the API (magpiectl), whether packets get through (package matrix).
package status
