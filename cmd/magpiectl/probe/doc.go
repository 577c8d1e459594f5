// SPDX-License-Identifier: Apache-2.0

// Package probe finds out from inside a pod what it reaches.
//
// # Model
//
//	prober pod                              server pod
//	Run: for each target -- TCP, UDP, a --> Serve: echoes
//	     packet of the full path MTU
//	  |
//	  +--> Report, compact JSON, as the container's termination message
//
// # Why this way
//
// A termination message reaches the API server by the node's status update, so
// a matrix can be taken of a cluster in which exec and logs do not work yet. It
// may have 4096 bytes, so that names of fields are one letter and an error
// stands once in a table.
//
// # Invariants
//
// Encode never returns more than Limit bytes. A target has its Check at its
// own index. Every check ends before its deadline.
//
// # Not here
//
// Pods and namespaces (magpiectl connectivity), what the results mean
// (package matrix).
package probe
