// SPDX-License-Identifier: Apache-2.0

// Package join renders the scripts that make a machine a node of a pool and
// that undo it.
//
// # Model
//
//	Params --Script--> constants, one a line, quoted for the shell
//	                   lib.sh check.sh api.sh files.sh join.sh
//	                   main "$@"
//
//	check (changes nothing) -> write what differs -> start kubelet -> wait
//
// The parts in script/ are plain bash; only the constants before them are made
// here. magpiectl finds the values and prints the script; an operator pipes it
// to the machine.
//
// # Why this way
//
// A machine in a shop has no magpiectl, no registry account and perhaps no
// second try before somebody drives there. What it always has is a shell. So
// everything is in one text, all prerequisites are checked before anything is
// written, every finding says what to do, and the parts can be linted and
// tested as what they are.
//
// A bootstrap token and kubelet's own TLS bootstrap are used, and nothing of
// ours: a node stays a node if Magpie is removed.
//
// # Invariants
//
// The token is never on a command line and only in files of mode 0600; it is
// deleted from the node once kubelet has a certificate. A second run of a
// script writes nothing. Whatever join writes is in its manifest
// (/var/lib/magpie/join.manifest) before it is written, so leave finds it even
// after an interruption. The last line runs everything: a script that was cut
// short does nothing.
//
// # Not here
//
// Tokens, role bindings and finding the API server: cmd/magpiectl. What makes
// a node Ready: the agent, which the chart's DaemonSet brings.
package join
