// SPDX-License-Identifier: Apache-2.0

// Package garbage decides when Go's collector runs.
//
// # Model
//
//	a collection ends --> what is live --> SetGCPercent for the next one
//
// A Limit says how much garbage a process may keep: a share of what is live, and
// a number of bytes at any rate.
//
// # Why this way
//
// Go knows a share only. An agent with caches for thousands of Services must not
// double its memory, so its share is small. The same share of an agent that keeps
// three megabytes is nothing: it would collect after each tenth pod, and the pod
// that comes just then waits for two milliseconds. A memory limit is no way out: a
// process that needs more than it collects without end. A ballast is one, but
// weighs on the large agent, too.
//
// # Invariants
//
// What is live is read after each collection and nowhere else, so that a process
// that grows or shrinks is followed within one cycle. With GOGC in the environment
// nothing is changed: somebody knows better.
//
// # Not here
//
// Making less garbage.
package garbage
