// SPDX-License-Identifier: Apache-2.0

// Package result is what benchmarks hand in: a figure of ours beside a peer's,
// from one run, and the goal for the two.
//
// # Model
//
// A Row has the samples of both sides; its figures are their medians, and its
// Ratio is ours to theirs. A Report is rows and how they are printed.
//
// # Why this way
//
// Machines differ and are shared, so a figure alone says little. Samples of
// both sides are taken in turns, in one run, and only their ratio is held
// against a goal, or their difference where what we add is a fixed cost. The
// spread is printed, because a ratio of two medians that each vary by half is
// no result.
//
// # Invariants
//
// A row without samples on either side is not OK.
//
// # Not here
//
// Taking the samples.
package result
