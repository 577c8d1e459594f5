// SPDX-License-Identifier: Apache-2.0

// Package golden compares what a pure function prints with a file that a
// person has read.
//
// # Model
//
// A case is one txtar archive, testdata/NAME.txtar: a sentence of prose that
// says what the case shows, the inputs as files, and the expected output as
// the file "want":
//
//	A pod CIDR of another domain goes to a gateway of our own domain.
//	-- in.json --
//	{ ... a View ... }
//	-- want --
//	route 10.42.7.0/24 via 10.42.1.0 dev mag-vxlan onlink
//
// # Why this way
//
// A plan has forty lines; a table of struct literals with forty lines each is
// not read by anybody. One file a case puts the sentence, the input and the
// output on one page, and the diff of a change to a planner is a diff of what
// nodes will do.
//
// # Invariants
//
// `go test ./PACKAGE -update` rewrites "want" and nothing else. A case without
// prose fails, because nobody could say whether its output is right. A pattern
// that matches no case fails, because such a test checks nothing.
//
// # Not here
//
// How a plan is printed: the String methods in plan.
package golden
