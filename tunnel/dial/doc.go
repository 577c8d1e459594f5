// SPDX-License-Identifier: Apache-2.0

// Package dial decides which gateways of the O&M tunnel an agent dials, and
// when.
//
// # Model
//
//	addresses, relays, certificate --+                    +-- Dial  (address, way)
//	greetings, ends, streams --------+--> Dialler.Step ---+-- Drain (connection)
//	the clock -----------------------+                    +-- Close (connection)
//
// An address is where one may dial; an instance is who answers, and says so in
// its greeting together with the names of all instances. One address may hide
// several instances (a load balancer), several addresses may lead to one. The
// Dialler wants one connection to each instance, two while streams run, and
// finds them by dialling. The way to an address is straight, or through a relay:
// a gateway node of the same site.
//
// # Why this way
//
// It is a state machine without I/O: what happens when 5,000 agents lose their
// gateway, or a certificate ends while the only address is being replaced, runs
// in a test in no time. Waiting is full jitter (a random part of a window that
// doubles) because agents that lost the same gateway would otherwise come back
// in the same instant, each time again.
//
// # Invariants
//
// Make before break: a connection is drained only when another serves in its
// stead, or when nothing is published any more. An address is dialled at most
// once at a time. Failures wait up to 30 s; an instance that is not found at an
// address that others answer costs a dial every few minutes, not more. A
// connection never counts before it has been greeted.
//
// # Not here
//
// Sockets, TLS, proxies (tunnel/wire), streams (tunnel/stream), certificates.
package dial
