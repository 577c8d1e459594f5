// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

func (r *reader) readNeighs(s *space) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		neighs, err := s.NeighList(0, family)
		if err != nil {
			return fmt.Errorf("list neighbours in %q: %w", s.path, err)
		}
		for _, n := range neighs {
			ip, ok := netip.AddrFromSlice(n.IP)
			// What the kernel learned by itself is not permanent, and not ours.
			if !ok || !s.ours[n.LinkIndex] || n.State&unix.NUD_PERMANENT == 0 {
				continue
			}
			r.plan.Neighs = append(r.plan.Neighs, plan.Neigh{
				NS: s.path, Dev: s.name(n.LinkIndex), IP: ip.Unmap(), MAC: n.HardwareAddr.String(),
			})
		}
	}
	return nil
}

func (r *reader) readFDB(s *space) error {
	for index := range s.ours {
		if s.links[index].Type() != string(plan.VXLAN) {
			continue
		}
		entries, err := s.NeighList(index, unix.AF_BRIDGE)
		if err != nil {
			return fmt.Errorf("list forwarding entries of %s: %w", s.name(index), err)
		}
		for _, e := range entries {
			dst, ok := netip.AddrFromSlice(e.IP)
			if !ok || e.HardwareAddr == nil {
				continue
			}
			r.plan.FDBs = append(r.plan.FDBs, plan.FDB{
				Dev: s.name(index), MAC: e.HardwareAddr.String(), Dst: dst.Unmap(),
			})
		}
	}
	return nil
}

// writeNeigh adds, changes or removes a permanent neighbour.
func (h *realHand) writeNeigh(n plan.Neigh, drop bool) (int, error) {
	return h.neigh(n.NS, n.Dev, n.MAC, drop, netlink.Neigh{
		IP: n.IP.AsSlice(), State: unix.NUD_PERMANENT,
	})
}

// writeFDB adds, changes or removes a permanent forwarding entry.
func (h *realHand) writeFDB(f plan.FDB, drop bool) (int, error) {
	return h.neigh("", f.Dev, f.MAC, drop, netlink.Neigh{
		IP: f.Dst.AsSlice(), State: unix.NUD_PERMANENT, Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF,
	})
}

func (h *realHand) neigh(ns, dev, mac string, drop bool, n netlink.Neigh) (int, error) {
	c, index, err := h.at(ns, dev)
	if err != nil {
		if drop {
			return removed(err)
		}
		return 0, err
	}
	n.LinkIndex = index
	if n.HardwareAddr, err = parseMAC(mac); err != nil {
		return 0, err
	}
	if drop {
		return removed(c.NeighDel(&n))
	}
	return wrote(c.NeighSet(&n))
}
