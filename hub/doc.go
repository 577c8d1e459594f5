// SPDX-License-Identifier: Apache-2.0

// Package hub keeps what one node may know of Services and their endpoints, and
// tells whoever watches when that changes.
//
// # Model
//
//	API server --reflector--> the truth --Pin, Fence, Place--> what is shown
//	                            |    ^                            |      |
//	                            v    | no answer                  v      v
//	                            disk-+                     List, Get   journal --> Watch
//
// One reflector a kind, whoever asks, puts every object into the truth. What is
// shown is computed from it when an object, its Service or the Place changes,
// and each difference becomes an Event in the kind's journal. Watches read the
// journal, each at its own speed.
//
// # Why this way
//
// What is shown of an object changes when an annotation of its Service or the
// pool of a node changes, while the object itself does not. So what is shown
// has versions of its own (ADR 15), and the truth is kept as it came.
//
// A journal that is kept for a while instead of a queue for each watch: a reader
// that stops reading costs nothing and stalls nobody; it is told ErrGone when
// what it wants next is forgotten, and lists again.
//
// Of a site that was cut off the control plane thinks that all its pods are not
// ready, and that is what the site would hear first when the line is back. Of
// the own pool it is believed only when kubelets have had time to speak
// (believe.go); else Services would have no endpoints just then.
//
// # Invariants
//
// Unknown is not empty, and not open: nothing is shown of a kind before its
// truth is known, nothing that Pin or Fence decides before the Place is, and no
// endpoint before its Service. Once known, a truth is only replaced by another
// one. An event is a visible difference; there are no others. Versions rise by
// one with each event and never repeat, not even after a restart. Objects that
// are handed out are never changed again, and a shown object shares with the
// truth whatever is the same. Numbers are in bytes and events, never a reader's
// to hold up.
//
// # Not here
//
// HTTP, encodings, selectors, callers and their rights (hub/serve). What is
// pinned and fenced (topology).
package hub
