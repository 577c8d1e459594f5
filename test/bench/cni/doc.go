// SPDX-License-Identifier: Apache-2.0

// Package cni measures how long a runtime waits for ADD and DEL.
//
// # Model
//
//	node A   agent (our server, its repair loop) <-socket- magpie-cni <-- libcni
//	node B   bridge + host-local + portmap, as plugins v1.9.1 <----------- libcni
//
// Both runtimes are the same process image and call libcni as containerd does:
// one exec a plugin, a cache of results on disk. A round does the same work on
// either side: pods one after another, then ten at a time, then both again with
// a hostPort. The samples of a row are the rounds' medians, or 99th percentiles.
//
// # Why this way
//
// The peers are built from their own module, peer/go.mod, so that their
// dependencies are theirs. The agent runs its repair loop while it serves: what
// costs in a cluster costs here. What is the runtime's own, or the machine's, is
// kept out on either side: see settle.
//
// # Invariants
//
// Everything happens in namespaces of package stage. Namespaces of pods exist
// before the clock starts, and the same ones serve both sides in turns.
//
// # Not here
//
// Packets (overlay, link).
package cni
