// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// PodSpace reports whether ns is the path of a network namespace. One that is the
// host's own is an error: a pod's interface there would be everybody's.
func (h *Host) PodSpace(ns string) (alive bool, err error) {
	fd, err := openNS(h.file(ns))
	if errors.Is(err, ErrNoNamespace) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if same, err := h.isHome(fd); err != nil || same {
		return true, errors.Join(err, fmt.Errorf("%s is the host's own network namespace", ns))
	}
	return true, nil
}

// PodDevice reports whether a network namespace has a device of that name.
func (h *Host) PodDevice(ns, name string) (there bool, err error) {
	c, err := h.dial(ns)
	if err != nil {
		return false, err
	}
	defer c.close()
	_, err = c.LinkByName(name)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil, err
}

// isHome reports whether fd is the namespace that the host is in.
func (h *Host) isHome(fd int) (bool, error) {
	home := h.home
	if home == "" {
		home = "/proc/thread-self/ns/net"
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &a), unix.Stat(home, &b)); err != nil {
		return false, fmt.Errorf("compare namespaces: %w", err)
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}

// ForgetFlows removes the conntrack entries of flows that were sent to proto
// and port at addr or, if addr is zero, at any of the host's addresses. What
// comes next is then looked at afresh by the NAT rules.
func (h *Host) ForgetFlows(_ context.Context, proto string, addr netip.Addr, port uint16) error {
	f := flowFilter{proto: protoNumber[proto], port: port, addrs: map[netip.Addr]bool{}}
	if addr.IsValid() {
		f.addrs[addr.Unmap()] = true
	} else if err := h.ownAddrs(f.addrs); err != nil {
		return err
	}
	c, err := h.flows()
	if err != nil {
		return err
	}
	defer c.Close()
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := c.ConntrackDeleteFilters(netlink.ConntrackTable, family, f); err != nil && !isGone(err) {
			return fmt.Errorf("forget flows to %s port %d: %w", proto, port, err)
		}
	}
	return nil
}

func (h *Host) flows() (*netlink.Handle, error) {
	c, err := netlink.NewHandleAt(netns.NsHandle(h.conn.fd), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netfilter socket: %w", err)
	}
	return c, nil
}

func (h *Host) ownAddrs(into map[netip.Addr]bool) error {
	list, err := h.conn.AddrList(nil, nl.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list own addresses: %w", err)
	}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			into[ip.Unmap()] = true
		}
	}
	return nil
}

// protoNumber is the IP protocol of a name as nft writes it.
//
//nolint:gochecknoglobals // a constant that Go cannot express
var protoNumber = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// flowFilter matches flows by their original destination.
type flowFilter struct {
	proto uint8
	port  uint16
	addrs map[netip.Addr]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	return ok && flow.Forward.Protocol == f.proto && flow.Forward.DstPort == f.port && f.addrs[to.Unmap()]
}
