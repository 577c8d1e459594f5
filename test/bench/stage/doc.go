// SPDX-License-Identifier: Apache-2.0

// Package stage gives a benchmark network namespaces and processes in them.
//
// # Model
//
//	Enter     re-executes the program in new namespaces: nothing it does can
//	          reach the host's interfaces, and no root is needed
//	Space     one network namespace, held by a child process that only waits
//	Role      a function of this program that runs as a child in a Space
//	Program   a foreign program that runs in a Space
//
// # Why this way
//
// Every child waits for the end of its standard input, which is a pipe from
// us: however we die, they die, and the kernel removes the namespaces and
// everything in them. There is nothing to clean up.
//
// A role is a process and not a thread: what opens sockets in a namespace then
// does so on whatever thread it likes.
//
// # Invariants
//
// Traffic never leaves the namespaces that Enter and Space made.
//
// # Not here
//
// What is measured (load, overlay, link).
package stage
