// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// linkLocalBits is the prefix length of the link-local address that the kernel
// gives each device by itself. Source: RFC 4291 section 2.5.6.
const linkLocalBits = 64

func (r *reader) readAddrs(s *space) error {
	addrs, err := s.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("list addresses in %q: %w", s.path, err)
	}
	for _, a := range addrs {
		p, ok := toPrefix(a.IPNet)
		if !ok || !s.ours[a.LinkIndex] || isKernelAddr(p) {
			continue
		}
		r.plan.Addrs = append(r.plan.Addrs, plan.Addr{NS: s.path, Dev: s.name(a.LinkIndex), Prefix: p})
	}
	return nil
}

// isKernelAddr reports whether the kernel makes such an address by itself.
func isKernelAddr(p netip.Prefix) bool {
	return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && p.Bits() == linkLocalBits
}

// writeAddr adds or removes an address. IPv6 addresses skip duplicate address
// detection: ours come from a ledger, and a pod must not wait a second for it.
func (h *realHand) writeAddr(a plan.Addr, drop bool) (int, error) {
	c, index, err := h.at(a.NS, a.Dev)
	if err != nil {
		if drop {
			return removed(err)
		}
		return 0, err
	}
	addr := &netlink.Addr{IPNet: toIPNet(a.Prefix), LinkIndex: index}
	if a.Prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if drop {
		return removed(c.AddrDel(link, addr))
	}
	if err := c.AddrAdd(link, addr); !isThere(err) {
		return wrote(err)
	}
	return 0, nil
}

// name is the name of a device of this space; "" if there is none.
func (s *space) name(index int) string {
	if l := s.links[index]; l.Link != nil {
		return l.Attrs().Name
	}
	return ""
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if a = a.Unmap(); a.BitLen() != bits {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), ok
}
