// SPDX-License-Identifier: Apache-2.0

// Package load makes TCP traffic of three kinds and counts it.
//
// # Model
//
//	stream  one connection, as many bytes as go through   bits/s
//	rr      one connection, one byte there and one back    transactions/s
//	crr     a connection for each transaction              transactions/s
//
// The server takes any of them: the first byte of a connection says which.
//
// # Why this way
//
// Client and server are processes pinned to the CPU they are given. With both
// on one CPU a rate is the inverse of what one transaction costs in CPU time,
// which is the honest figure on a machine that is not idle. Sockets block and
// are read by bare system calls: Go's poller would add the same cost to both
// sides of a comparison and so make every ratio look nearer to one.
//
// # Invariants
//
// Every run is bounded in time. The server closes first, so that the client's
// ports are free at once.
//
// # Not here
//
// Where the processes run (stage).
package load
