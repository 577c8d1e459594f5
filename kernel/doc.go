// SPDX-License-Identifier: Apache-2.0

// Package kernel is the door to Linux: the only place that reads or writes
// network devices, addresses, neighbours, routes, rules, nftables, iptables,
// WireGuard, eBPF programs and sysctls.
//
// # Model
//
//	           Own(owner) ---------> reconcile.World[plan.Plan]
//	                                     |            |
//	                                  Observe       Apply(have, want)
//	                                     |            |
//	dumps filtered by the owner's mark <-+            +-> plan.Diff
//	                                                  |     |
//	                                 devices first    |     v
//	                                 (a new device    +- one writer per kind
//	                                  has lost its         (hand)
//	                                  dependants)
//
// Host is the real kernel, Fake is one in memory. Both are a reader and a hand
// beneath the same Apply, and one suite of scenarios holds them to the same
// text.
//
// # Why this way
//
// Ownership is in the object: devices carry the alias "magpie:OWNER" and the
// name prefix "mag"; routes and rules carry the owner's protocol number;
// neighbours, forwarding entries, addresses, WireGuard peers and shapes live on
// an owned device; nftables tables are named "magpie-OWNER" or
// "magpie-OWNER-…"; iptables accepts carry the comment "magpie:OWNER"; programs
// hang in a filter named "magpie:…" on an owned device, and shortcuts hold the
// owner's number. So a restarted process finds what the last one left, and never
// mistakes another's object for its own. In a pod's namespace the interface we
// made is ours with everything on it that the kernel did not put there by itself.
//
// A device is made in one message with its group set to the owner's protocol
// number, because the alias needs a second message: a device with the prefix,
// the group and no alias is a half-made one of ours.
//
// # Invariants
//
// Adds and changes come before removals. A failed write never stops an
// independent one. Removing what is gone, and adding what is there in the
// wanted form, is success. An interrupted dump is read again and never
// compared. Foreign objects are read, at most; where one is in the way the
// write fails and says whose it is.
//
// # Not here
//
// What is wanted (the planners), when (reconcile) and sockets (tunnel/wire).
package kernel
