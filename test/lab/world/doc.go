// SPDX-License-Identifier: Apache-2.0

// Package world lays the cables between the lab's machines: an internet, four
// sites with their routers, and what can go wrong between them.
//
// # Model
//
//	                internet
//	 vpc  |   shop-a  |   shop-b  |   plant  |  outside
//	      |           |           |          |
//	  vpc-gw      shop-a-gw   shop-b-gw   plant-gw     routers, one bridge `lan` each
//	  1:1 NAT     full cone   symmetric   firewall
//	 |  |  |        |   |         |          |
//	cp c-1 c-2     a-1 a-2       b-1        c-1        machines, `eth0`
//	  |                                      |
//	  +------------- private line -----------+         veth `xc0`, no routes until asked
//
// A cable is a veth pair made directly between two network namespaces. All
// other settings are the commands a network engineer would type (ip, nft,
// sysctl), run inside the machine.
//
// # Invariants
//
//   - The host's network namespace has no part in it: no veth, no route, no
//     rule. No packet can leave.
//   - Wire is level-triggered: it may be called at any time, after any
//     interruption, and after a machine was rebooted.
//   - Faults are rendered from a list, whole: healing is the empty list.
//
// # Why this way
//
// Full cone means: one mapping for all destinations, and anybody may send to
// it. The kernel's masquerade keeps the source port where it can, which gives
// the first half; a set of mappings learned behind the masquerade and used as
// DNAT gives the second. Symmetric is masquerade with fully random ports.
//
// The kernel here has no netem: a line that takes its time is a process between
// two TUN devices of the internet machine (Line).
//
// # Not here
//
// The machines themselves: package machine. What runs on them: package lab.
package world
