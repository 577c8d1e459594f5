// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

func (r *reader) readNeighs(s *space) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := s.eachNeigh(family, 0, func(n foundNeigh) {
			// What the kernel learned by itself is not permanent, and not ours.
			if !s.ours[n.index] || n.state&unix.NUD_PERMANENT == 0 {
				return
			}
			r.plan.Neighs = append(r.plan.Neighs, plan.Neigh{NS: s.path, Dev: s.name(n.index), IP: n.ip, MAC: n.mac})
		})
		if err != nil {
			return fmt.Errorf("list neighbours in %q: %w", s.path, err)
		}
	}
	return nil
}

func (r *reader) readFDB(s *space) error {
	for index := range s.ours {
		if s.links[index].Type() != string(plan.VXLAN) {
			continue
		}
		err := s.eachNeigh(unix.AF_BRIDGE, index, func(n foundNeigh) {
			if n.index == index && n.ip.IsValid() && n.mac != "" {
				r.plan.FDBs = append(r.plan.FDBs, plan.FDB{Dev: s.name(index), MAC: n.mac, Dst: n.ip})
			}
		})
		if err != nil {
			return fmt.Errorf("list forwarding entries of %s: %w", s.name(index), err)
		}
	}
	return nil
}

// foundNeigh is one neighbour or forwarding entry of a dump.
type foundNeigh struct {
	index int
	state uint16
	ip    netip.Addr
	mac   string
}

// eachNeigh dumps neighbours, or the forwarding entries of one device. Parsed
// by hand: a large overlay has thousands, and every round reads them.
func (c *conn) eachNeigh(family uint8, index int, f func(foundNeigh)) error {
	req, err := c.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	if err != nil {
		return err
	}
	req.AddData(&netlink.Ndmsg{Family: family, Index: uint32(index)})
	order := nl.NativeEndian()
	var parsed error
	err = req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH, func(m []byte) bool {
		if len(m) < unix.SizeofNdMsg {
			return true
		}
		// struct ndmsg: family, padding, index, state, flags, type
		n := foundNeigh{index: int(int32(order.Uint32(m[4:]))), state: order.Uint16(m[8:])}
		attrs, err := nl.ParseRouteAttr(m[unix.SizeofNdMsg:])
		if err != nil {
			parsed = fmt.Errorf("parse neighbour: %w", err)
			return false
		}
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.NDA_DST:
				n.ip, _ = netip.AddrFromSlice(a.Value)
				n.ip = n.ip.Unmap()
			case unix.NDA_LLADDR:
				n.mac = net.HardwareAddr(a.Value).String()
			}
		}
		f(n)
		return true
	})
	return errors.Join(err, parsed)
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
