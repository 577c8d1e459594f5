// SPDX-License-Identifier: Apache-2.0

// Package stream is the O&M tunnel: it carries TCP streams from the cloud to
// edge nodes over connections that the edge dialled.
//
// # Model
//
//	API server --> entry --> Sessions ==CONNECT==> Server --> kubelet on loopback
//	               gateway, in the cloud           agent, at the edge
//	                            <----- dialled ------
//
// The agent dials, and is then the HTTP/2 server of that connection; the
// gateway is the client and opens one CONNECT stream a connection it carries.
// Sessions is the gateway's end: all live connections by node. Server is the
// agent's end: it checks a stream against Allow, dials, and splices.
//
// A node may have several connections. Each stream goes to one that answers and
// carries no bulk stream now; what is bulk is seen by how much it moves (h2.Load).
// The gateway says Hello on each connection, and again after Announce.
//
// Gateways carry streams to each other with the same two types: Sessions keyed
// by instance (OpenAt), and a Server without a name whose Dial is the other's
// Open. A refusal has a code on the wire, so it comes back as what it was.
//
// # Why this way
//
// HTTP/2 has credit for each stream, so a reader that stops reading stalls
// nobody else; konnectivity has one channel for all (its issues 180 and 881).
// Bytes are carried, not requests: TLS between API server and kubelet stays end
// to end.
//
// # Invariants
//
// An agent can not open a stream. Whether a target is allowed is checked for
// every stream, at both ends. Nothing here waits without a bound. Every stream
// that was asked for ends in exactly one Record at the end that was asked. What
// breaks is cut with a reset, never ended in order: half a log must not look
// like a whole one. A stream at rest holds no large buffer.
//
// # Not here
//
// TLS and sockets (tunnel/wire), who may have which certificate
// (tunnel/identity), how callers get in (tunnel/stream/entry).
package stream
