// SPDX-License-Identifier: Apache-2.0

// Package wire is the door to sockets: what carries a tunnel's packets.
//
// # Model
//
// UserspaceWireGuard runs wireguard-go inside the agent for kernels without the
// WireGuard module. It makes a TUN device of the asked name and answers on the
// socket that wgctrl looks for, so that the kernel door configures it with the
// very calls that it uses for the module. Hello sends the datagrams by which the
// two ends of a link hear each other.
//
//	agent                        site's gateway node          cloud
//	Dialler --------------------------------------------> Door   (magpie-gateway)
//	Dialler --CONNECT--> HTTP proxy of the environment --> Door
//	Dialler --CONNECT-------> Relay ---------------------> Door
//
// Dialler opens an agent's connections to gateways, and TLS is between those two
// whatever lies between. Door accepts them. Guard puts TLS before a server for
// callers, with the same limits of what strangers may cost.
//
// # Why this way
//
// The choice between module and process is made per node and shows nowhere
// else: plans, peers, reports and commands are the same.
//
// # Invariants
//
// A device lives until Close or the end of the process; keys and peers are
// never read or written here.
//
// # Not here
//
// Peers and allowed IPs (tunnel/mesh), configuration (kernel). The binds for a
// private line and for TLS on TCP 443 will live here, behind conn.Bind.
package wire
