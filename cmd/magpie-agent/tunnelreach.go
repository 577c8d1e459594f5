// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// allow checks where a stream may end: declared ports of this node, and pods of
// its own pod CIDRs.
func (t *omTunnel) allow(target stream.Target) error {
	a := stream.Allow{Ports: t.config.ports()}
	if v, err := t.view(); err == nil {
		a.Pods = v.Self.PodCIDRs
	}
	return a.Check(target)
}

// reach connects to a target that is allowed.
func (t *omTunnel) reach(ctx context.Context, call stream.Call) (net.Conn, error) {
	port := strconv.Itoa(int(call.Target.Port))
	var d net.Dialer
	if pod := call.Target.Addr; pod.IsValid() {
		// The overlay's device has an address within the pod CIDR: all ports of
		// the host would be open there.
		own, err := hostAddrs()
		if err != nil {
			return nil, err
		}
		if slices.Contains(own, pod.Unmap()) {
			return nil, &stream.Refusal{Code: stream.CodeNotAllowed, Text: pod.String() + " is an address of the node and no pod's"}
		}
		return d.DialContext(ctx, "tcp", net.JoinHostPort(pod.String(), port))
	}
	v, err := t.view()
	if err != nil {
		return nil, fmt.Errorf("read the fleet: %w", err)
	}
	// Loopback first. Some kubelets listen on the node's address only.
	var errs []error
	for _, addr := range ownAddrs(v.Self) {
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// ownAddrs are where programs of the node itself listen.
func ownAddrs(s fleet.Self) []netip.Addr {
	out := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	for _, u := range []fleet.Underlay{s.Underlay4, s.Underlay6} {
		if u.OK() {
			out = append(out, u.Addr)
		}
	}
	return out
}

// hostAddrs are all addresses of the host's own interfaces.
func hostAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read the host's addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out, nil
}

// relaysOf are the neighbours that may carry us out: the gateway nodes of our
// own domain, the active one first.
func relaysOf(v fleet.View) []string {
	home, ok := v.Home()
	if !ok || home.Cloud {
		return nil
	}
	var active, standby []string
	for _, g := range home.Gateways {
		n, known := home.Node(g.Node)
		if !known || g.Node == v.Self.Node {
			continue
		}
		addr := n.Addr4
		if !addr.IsValid() || !v.Self.Underlay4.OK() {
			addr = n.Addr6
		}
		if !addr.IsValid() {
			continue
		}
		at := netip.AddrPortFrom(addr, api.PortTunnelRelay).String()
		if g.Active {
			active = append(active, at)
		} else {
			standby = append(standby, at)
		}
	}
	return append(active, standby...)
}
