// SPDX-License-Identifier: Apache-2.0

// Package matrix is what magpiectl connectivity reports: who reaches whom.
//
// # Model
//
//	[]Probed (what each prober found) --Assemble--> Report --Text--> people
//	                                                   |
//	                                                   +--JSON--> programs
//
// # Why this way
//
// The report holds every ordered pair, so that a program need not know how the
// text is laid out, and the text shows a pair as one cell, so that twelve
// nodes fit 80 columns.
//
// # Invariants
//
// OK is true exactly if Failures is empty. Every hole has a failure with a
// reason. Text is at most 80 columns wide for up to 12 nodes.
//
// # Not here
//
// Probing (package probe), pods (magpiectl connectivity), paths (internal/walk).
package matrix
