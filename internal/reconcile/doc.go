// SPDX-License-Identifier: Apache-2.0

// Package reconcile is the loop that every part of Magpie runs.
//
// # Model
//
//	read a source -> desire a plan -> observe the world -> apply -> report
//	     ^                                                           |
//	     +------------- a wake, or Every, or a retry <---------------+
//
// # Why this way
//
// The loop is level-triggered: it never looks at what an event said, only at
// how things are. A lost wake costs latency up to Every and never correctness,
// and there is one piece of code for start-up, repair, change and clean-up.
//
// # Invariants
//
// Rounds of one Loop never overlap. No round applies anything while Read says
// ErrNotReady. A failed round is tried again after Gap, then twice that, up to
// Every; the loop ends only with its context.
//
// # Not here
//
// What is read, planned and written: the packages that build a Loop.
package reconcile
