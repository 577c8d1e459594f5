// SPDX-License-Identifier: Apache-2.0

// Package mesh plans the pod-traffic tunnel: one WireGuard device on each
// gateway node, its peers, and the routes and rules that go with it.
//
// # Model
//
//	edge gateway                             cloud gateway
//	mag-wg0 ---- dials UDP 4500, keepalive ---- mag-wg0
//	  peer: every cloud gateway                   peer: every edge gateway
//	  allowed: all other domains' CIDRs           allowed: the CIDRs of each edge
//	           at the gateway that serves us               domain this gateway serves,
//	                                                       at its elected gateway
//
// # Why this way
//
// All peers are configured and shake hands all the time; only the allowed IPs
// say which of them carries traffic. Moving a domain to another gateway is then
// one write for each CIDR and needs no handshake. Edges dial, because only they
// can; the cloud learns where an edge is from the packets WireGuard has
// authenticated.
//
// Whether a peer lives is heard, not asked: Ears watch WireGuard's counters of
// received bytes, and Hellos say where to send the datagrams that let both ends
// hear something every few seconds on a link without traffic.
//
// # Invariants
//
// A peer may send only from CIDRs that the manager computed for its domain:
// WireGuard's own check (cryptokey routing). What arrives on the device may go
// only to pods of the cluster: never to link-local, loopback, metadata or node
// addresses. A node that is no gateway plans nothing, which removes the device.
//
// # Not here
//
// Which gateway carries which link (tunnel), the process that speaks WireGuard
// where the kernel does not (tunnel/wire). Fail-over by probing, hole punching,
// private lines and TLS on TCP 443 are not built yet; a path of another kind
// will be another endpoint of the same peer, so a session outlives the change.
package mesh
