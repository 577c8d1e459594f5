// SPDX-License-Identifier: Apache-2.0

// Package arch tests the shape of the repository: who may import whom, what a
// binary may contain, what every file and package must begin with, and that
// the reference pages say what the code says.
//
// # Model
//
// The package is tests only. They parse the source (go/parser, no compiler),
// so they run in a second and work on a tree that does not build:
//
//	imports_test.go   the layers of docs/architecture.md, edge by edge
//	binaries_test.go  what each command must not link
//	files_test.go     SPDX lines, doc.go, sizes, package names
//	owners_test.go    ownership marks do not overlap
//	words_test.go     metrics, notes, conditions and runbooks are documented
//	reference_test.go docs/reference pages made from constants and structs
//
// # Why this way
//
// A rule that is only written down is broken within a month by somebody in a
// hurry. As a test it costs a second, and its message says why the rule is
// there, which is when a reader wants to know.
//
// # Invariants
//
// A rule names its reason. A package that no rule names fails: whoever adds a
// package decides where it belongs. `go test ./internal/arch -update` rewrites
// the generated reference pages.
//
// # Not here
//
// Style within a function: .golangci.yml.
package arch
