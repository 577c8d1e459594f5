// SPDX-License-Identifier: Apache-2.0

// Package version says which build this is.
//
// # Model
//
// One string, the same in every binary of a release: what `git describe`
// printed when the binary was built, or what the Go toolchain knows of the
// module when nobody set it.
//
// # Why this way
//
// Set by the linker because releases are built from archives that hold no git
// history; everything else falls back to the build information that every Go
// binary carries, so that no build answers "unknown" without need.
//
// # Invariants
//
// The string never changes while the process runs and is never empty.
//
// # Not here
//
// Printing it: each command has a flag or verb of its own.
package version
