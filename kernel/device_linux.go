// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// device adds or changes one device. See hand.
func (h *realHand) device(_ context.Context, s plan.Step) (fresh bool, writes int, err error) {
	d, _ := s.Item.(plan.Device)
	c, err := h.conn(d.NS)
	if err != nil {
		return false, 0, err
	}
	if s.Op == plan.Add && d.Kind == plan.Veth {
		// Most adds of a pod's pair find nothing there: do not look first.
		if writes, err = h.create(c, d); !isThere(err) {
			return err == nil, writes, err
		}
	}
	l, err := c.LinkByName(d.Name)
	switch {
	case errors.Is(err, unix.ENODEV):
		writes, err = h.create(c, d)
		return err == nil, writes, err
	case err != nil:
		return false, 0, err
	case !isOurs(l, h.owner):
		return false, 0, fmt.Errorf("device %s %w (alias %q)", d.Name, ErrForeign, l.Attrs().Alias)
	}
	if h.mustRecreate(c, l, d) {
		if err := h.destroy(c, l, d); err != nil {
			return false, 0, fmt.Errorf("remove to make anew: %w", err)
		}
		writes, err = h.create(c, d)
		return true, writes + 1, err
	}
	// A new MAC drops all neighbours of the device, permanent ones, too.
	fresh = d.MAC != "" && l.Attrs().HardwareAddr.String() != d.MAC
	if was, ok := s.Was.(plan.Device); ok && d.PeerMAC != "" && was.PeerMAC != d.PeerMAC {
		fresh = true
	}
	writes, err = h.adjust(c, l, d)
	return fresh, writes, err
}

// create makes the device as wanted and marks it.
func (h *realHand) create(c *conn, d plan.Device) (writes int, err error) {
	switch d.Kind {
	case plan.Veth:
		return h.createPair(c, d)
	case plan.VXLAN:
		writes, err = h.createVXLAN(c, d)
	case plan.WireGuard:
		writes, err = h.createWith(d, func(a netlink.LinkAttrs) (int, error) { return h.host.wg.create(c, d, a) })
	case plan.IFB:
		writes, err = h.createWith(d, func(a netlink.LinkAttrs) (int, error) {
			return wrote(c.LinkAdd(&netlink.Ifb{LinkAttrs: a}))
		})
	default:
		return 0, fmt.Errorf("kind %q: no such kind of device", d.Kind)
	}
	if err != nil {
		return writes, err
	}
	l, err := c.LinkByName(d.Name)
	if err != nil {
		return writes, err
	}
	more, err := h.adjust(c, l, d)
	return writes + more, err
}

func (h *realHand) createWith(d plan.Device, f func(netlink.LinkAttrs) (int, error)) (int, error) {
	a, err := h.attrs(d)
	if err != nil {
		return 0, err
	}
	return f(a)
}

// attrs are those that every kind is created with. Group is the mark that is
// there from the first moment on.
func (h *realHand) attrs(d plan.Device) (netlink.LinkAttrs, error) {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.Group = d.Name, d.MTU, uint32(h.owner.Proto)
	mac, err := parseMAC(d.MAC)
	a.HardwareAddr = mac
	return a, err
}

// mustRecreate reports whether the kernel cannot change the device in place.
func (h *realHand) mustRecreate(c *conn, l netlink.Link, d plan.Device) bool {
	if kindOf(l) != d.Kind {
		return true
	}
	switch v := l.(type) {
	case *netlink.Veth:
		return !h.pairIs(c, v, d)
	case *netlink.Vxlan:
		local, _ := netip.AddrFromSlice(v.SrcAddr)
		return v.VxlanId != d.VNI || v.Port != d.Port || local.Unmap().Is4() != d.Local.Is4()
	default:
		return false
	}
}

// adjust brings a device that is there into the wanted form, in place.
func (h *realHand) adjust(c *conn, l netlink.Link, d plan.Device) (writes int, err error) {
	var errs []error
	do := func(what string, needed bool, f func() error) {
		if !needed {
			return
		}
		if err := f(); err != nil {
			errs = append(errs, fmt.Errorf("set %s: %w", what, err))
			return
		}
		writes++
	}
	a := l.Attrs()
	h.index[d.Key()] = a.Index
	mac, err := parseMAC(d.MAC)
	if err != nil {
		return 0, err
	}
	down := a.Flags&unix.IFF_UP == 0
	do("alias", a.Alias != alias(h.owner) && !down, func() error { return c.LinkSetAlias(l, alias(h.owner)) })
	do("mac", mac != nil && a.HardwareAddr.String() != d.MAC, func() error { return c.LinkSetHardwareAddr(l, mac) })
	do("mtu", d.MTU != 0 && a.MTU != d.MTU, func() error { return c.LinkSetMTU(l, d.MTU) })
	switch v := l.(type) {
	case *netlink.Vxlan:
		do("vxlan", h.vxlanDiffers(c, v, d), func() error { return h.changeVXLAN(c, v, d) })
	case *netlink.Veth:
		n, err := h.adjustPeer(d, v.Attrs())
		writes += n
		errs = append(errs, err)
	}
	if d.Kind == plan.WireGuard {
		n, err := h.host.wg.adjust(d)
		writes += n
		errs = append(errs, err)
	}
	do("up", down, func() error { return c.markAndUp(a.Index, alias(h.owner), nil) })
	return writes, errors.Join(errs...)
}

// markAndUp sets a device's alias and puts it up, in one message, with what a
// family is to do (IFLA_AF_SPEC), if anything.
func (c *conn) markAndUp(index int, alias string, families *nl.RtAttr) error {
	req, err := c.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
	if err != nil {
		return err
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags, msg.Change = int32(index), unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	if families != nil {
		req.AddData(families)
	}
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// destroy removes a device and what runs it.
func (h *realHand) destroy(c *conn, l netlink.Link, d plan.Device) error {
	if d.NS == "" {
		h.host.wg.stop(d.Name)
	}
	if err := h.host.unlink(c, l); err != nil && !isGone(err) {
		return err
	}
	return nil
}

// removeDevice removes a device of ours; one that is gone or is another's is
// left as it is.
func (h *realHand) removeDevice(d plan.Device) (int, error) {
	c, err := h.conn(d.NS)
	if err != nil {
		return removed(err)
	}
	l, err := c.LinkByName(d.Name)
	if err != nil {
		return removed(err)
	}
	if !isOurs(l, h.owner) {
		return 0, nil // ours is gone; what has its name now is another's
	}
	return wrote(h.destroy(c, l, d))
}

func parseMAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	mac, err := net.ParseMAC(s)
	if err != nil {
		return nil, fmt.Errorf("mac %q: %w", s, err)
	}
	if mac.String() != s {
		return nil, fmt.Errorf("mac %q: write it as %s", s, strings.ToLower(mac.String()))
	}
	return mac, nil
}
