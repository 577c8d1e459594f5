// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Underlay is a device and address that can carry encapsulated packets.
type Underlay struct {
	Dev  string
	Addr netip.Addr
	MTU  int // bytes
}

// Underlay finds, for one family, the device that carries the node's traffic:
// the one that has the first of the preferred addresses (of that family) which
// is on this host, else the one the default route leaves by, with its first
// global address. The zero Underlay says that the family has neither.
func (h *Host) Underlay(v6 bool, preferred []netip.Addr) (Underlay, error) {
	family := netlink.FAMILY_V4
	if v6 {
		family = netlink.FAMILY_V6
	}
	all, err := h.conn.AddrList(nil, family)
	if err != nil {
		return Underlay{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, want := range preferred {
		for _, a := range all {
			if want.Is6() == v6 && addrOf(a) == want {
				return h.underlay(a.LinkIndex, want)
			}
		}
	}
	index, err := h.defaultDevice(family)
	if err != nil || index == 0 {
		return Underlay{}, err
	}
	i := slices.IndexFunc(all, func(a netlink.Addr) bool {
		return a.LinkIndex == index && a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&unix.IFA_F_TEMPORARY == 0
	})
	if i < 0 {
		return Underlay{}, nil
	}
	return h.underlay(index, addrOf(all[i]))
}

func addrOf(a netlink.Addr) netip.Addr {
	got, _ := netip.AddrFromSlice(a.IP)
	return got.Unmap()
}

func (h *Host) underlay(index int, addr netip.Addr) (Underlay, error) {
	link, err := h.conn.LinkByIndex(index)
	if err != nil {
		return Underlay{}, fmt.Errorf("look at device %d: %w", index, err)
	}
	return Underlay{Dev: link.Attrs().Name, Addr: addr, MTU: link.Attrs().MTU}, nil
}

// defaultDevice returns the index of the device of the default route with the
// lowest metric; 0 if there is none.
func (h *Host) defaultDevice(family int) (int, error) {
	routes, err := h.conn.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	best, metric := 0, 0
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		index := r.LinkIndex
		if index == 0 && len(r.MultiPath) > 0 {
			index = r.MultiPath[0].LinkIndex
		}
		if index != 0 && (best == 0 || r.Priority < metric) {
			best, metric = index, r.Priority
		}
	}
	return best, nil
}

// MAC returns the hardware address of a device; "" if there is no such device.
func (h *Host) MAC(name string) (string, error) {
	link, err := h.conn.LinkByName(name)
	if errors.Is(err, unix.ENODEV) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at device %s: %w", name, err)
	}
	return link.Attrs().HardwareAddr.String(), nil
}
