// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"net/netip"
	"slices"
)

// never is where no stream ends, whatever an Allow says: loopback and link-local
// addresses, multicast, and the clouds' metadata services.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
	netip.MustParsePrefix("::/127"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("ff00::/8"),
}

// Allow is the list of where streams may end. Both ends have one; the zero
// value allows nothing.
type Allow struct {
	// Ports of the node itself.
	Ports []uint16
	// Pods are the addresses, of the node's pods, that may be reached on any
	// port.
	Pods []netip.Prefix
	// Deny goes before Pods: addresses of the control plane and the like.
	Deny []netip.Prefix
}

// Check returns nil or a *Refusal.
func (a Allow) Check(t Target) error {
	if t.Port == 0 {
		return refuse(CodeNotAllowed, "port 0")
	}
	if !t.Addr.IsValid() {
		if !slices.Contains(a.Ports, t.Port) {
			return refuse(CodeNotAllowed, "port %d of a node is not on the list %v", t.Port, a.Ports)
		}
		return nil
	}
	// An IPv4 address may come dressed as IPv6, and a zone may hide a
	// link-local one.
	addr := t.Addr.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	switch {
	case slices.ContainsFunc(never, in):
		return refuse(CodeNotAllowed, "%s is never reached through the tunnel", addr)
	case slices.ContainsFunc(a.Deny, in):
		return refuse(CodeNotAllowed, "%s is denied", addr)
	case !slices.ContainsFunc(a.Pods, in):
		return refuse(CodeNotAllowed, "%s is not a pod of the node", addr)
	}
	return nil
}

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}
