// SPDX-License-Identifier: Apache-2.0

// Command magpie-gateway is the cloud's end of the O&M tunnel: the one process
// that the internet reaches.
//
// # Model
//
//	run.go      the wiring, top to bottom; start, drain, end
//	gateway.go  who may come in, and what a connection becomes
//	roads.go    from a caller's wish to a stream: names, lists, rights
//	peers.go    the other instances
//	audit.go    what is said of each stream: a line of log, metrics
//	status.go   /healthz /readyz /metrics /sessions
//
// # Why this way
//
// It has no privilege and no right of its own towards kubelets. It watches what
// it needs to find nodes, asks the API server who a caller is, and carries
// bytes whose TLS it can not open.
//
// # Invariants
//
// Any instance serves any node: a stream that arrives where its node is not
// connected is passed on once, and never further. Whatever is refused is
// counted and has a code. Nobody is let in before certificate and directory are
// there.
//
// # Not here
//
// Streams (tunnel/stream), protocols of callers (tunnel/stream/entry),
// handshakes (tunnel/wire), certificates and objects (cluster).
package main
