// SPDX-License-Identifier: Apache-2.0

// Package link measures pod to pod through a link between two domains against
// a bare pair of wireguard-go devices.
//
// # Model
//
//	ours   pod -- gateway, mag-wg0 ~~UDP 4500 over a veth~~ mag-wg0, gateway -- pod
//	bare          host,    wg0     ~~UDP 4500 over a veth~~ wg0,     host
//
// A gateway of ours is a process that does what an agent does on a gateway
// node: tunnel.Choose and mesh.Plan, applied by the kernel door, with
// wireguard-go inside (tunnel/wire) where the kernel has no WireGuard. The bare
// pair is the library with one peer each and no firewall, pod or route of ours.
//
// # Why this way
//
// The bare pair is the most that the library gives on this machine, so the
// ratio is what the product takes from it: a veth pair more at each end, the
// table that guards the link, conntrack and masquerade rules.
//
// # Invariants
//
// Client and server have a CPU each; the tunnels run where the kernel puts
// them, as they would.
//
// # Not here
//
// The overlay inside a domain (overlay).
package link
