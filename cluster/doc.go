// SPDX-License-Identifier: Apache-2.0

// Package cluster is the door to the Kubernetes API: nothing else in a process
// of ours reads or writes it.
//
// # Model
//
//	API --list, watch--> stores --Objects--> planner --> []plan.Manifest
//	 ^                      |                                  |
//	 |                      +--Observe--> what we own          |
//	 +-------server-side apply of the difference---------------+
//
// Agent watches what one node needs, Manager what the manager needs. Both hand
// out Objects for a planner to read and a reconcile.World to write its result.
//
// # Why this way
//
// What we own of an object is written in the object: the API server records
// for each field manager which fields it has applied. Observe reads that record
// and returns exactly those fields with the values they have now. So a round
// that changes nothing writes nothing, a field that somebody else changed is
// seen and set again, a field we no longer want is given up, and a restarted
// process needs no memory. An annotation with a hash of what we wrote could do
// none of this for a status, and would not see a change by others.
//
// What pools give their nodes is the exception: its record stands on the Node,
// because taints have one owner at most (Members, ADR 16).
//
// Everything is read from stores that a watch keeps; no reader waits for the
// network. When the API server is away the stores keep what they last had.
//
// # Invariants
//
// Objects returns reconcile.ErrNotReady until every store has been filled once.
// Only objects of our own group, or with our managed-by label, are deleted; in
// all others we give up our fields and leave the rest. After Apply the stores
// hold what it wrote, so the next round does not decide on old news.
//
// # Not here
//
// What should be in the API (nodepool, and the agent's own report).
package cluster
