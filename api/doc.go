// SPDX-License-Identifier: Apache-2.0

// Package api holds the words users type and other systems read: CRD types,
// labels, annotations and every number of the wire and of the kernel.
//
// # Model
//
// A word is a constant here or it does not exist. Code elsewhere never spells
// an annotation, a port or a routing table number.
//
// # Why this way
//
// Magpie reads and writes the words of OpenYurt, Raven, Flannel and ACK Edge so
// that a manifest written for those systems works unchanged. Keeping the words
// in one place, with the name of whoever else uses each of them, is what makes
// a collision visible in review rather than in a shop at night.
//
// # Invariants
//
// Constants never change their value once released. Nothing here does I/O.
//
// # Not here
//
// What the words mean: nodepool, topology and the planners decide that.
package api
