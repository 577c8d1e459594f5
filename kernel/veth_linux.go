// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// createPair makes a pair, marks it and puts it up. All that is asked back is
// the numbers of its ends: the rest is as it was asked for, or an error.
//
// The host's end goes up first. It has no carrier until the pod's end is up, and
// by then the kernel knows that it is to have no IPv6 address of its own, which
// would cost every pod a dozen of the kernel's own tasks (a random group joined
// and left, a duplicate sought, a route made) while the next pod waits. Nobody
// uses it: the pod's gateway is a fixed neighbour.
func (h *realHand) createPair(c *conn, d plan.Device) (writes int, err error) {
	if writes, err = h.createVeth(c, d); err != nil {
		return writes, err
	}
	peer, err := h.conn(d.PeerNS)
	if err != nil {
		return writes, err
	}
	near, err := c.look(0, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(d.Name)))
	if err != nil {
		return writes, err
	}
	a := near.Attrs()
	h.index[d.Key()], h.conf[d.Key()] = a.Index, near
	h.index[plan.DeviceKey{NS: d.PeerNS, Name: d.PeerName}] = a.ParentIndex
	var families *nl.RtAttr
	if near.conf6 != nil {
		families = nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
		families.AddRtAttr(unix.AF_INET6, nil).
			AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{nl.IN6_ADDR_GEN_MODE_NONE})
	}
	if err := c.markAndUp(a.Index, alias(h.owner), families); err != nil {
		return writes, fmt.Errorf("set up: %w", err)
	}
	if err := peer.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: a.ParentIndex}}); err != nil {
		return writes + 1, fmt.Errorf("set peer up: %w", err)
	}
	return writes + 2, nil
}

// createVeth makes both ends where they belong, in one message: a pod never
// sees an interface with another name, and nothing is moved between
// namespaces, which is slow. An end has one queue: by itself the kernel makes one
// of either kind for each CPU that the machine could have, an object in sysfs
// each, and a pair hands packets on without any.
// Source: Linux drivers/net/veth.c, veth_get_num_queues and veth_xmit.
func (h *realHand) createVeth(c *conn, d plan.Device) (int, error) {
	peer, err := h.conn(d.PeerNS)
	if err != nil {
		return 0, err
	}
	if len(d.Name) >= unix.IFNAMSIZ || len(d.PeerName) >= unix.IFNAMSIZ {
		return 0, fmt.Errorf("device name longer than %d bytes", unix.IFNAMSIZ-1)
	}
	mac, err := parseMAC(d.MAC)
	if err != nil {
		return 0, err
	}
	peerMAC, err := parseMAC(d.PeerMAC)
	if err != nil {
		return 0, err
	}
	req, err := c.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	if err != nil {
		return 0, err
	}
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(d.Name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(uint32(h.owner.Proto))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	far := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(far, unix.AF_UNSPEC)
	far.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(d.PeerName))
	if peer.fd != c.fd {
		fd := peer.fd
		if fd < 0 {
			return 0, fmt.Errorf("peer in the host of a device in %q: not supported", d.NS)
		}
		far.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd)))
	}
	for _, queues := range []int{unix.IFLA_NUM_TX_QUEUES, unix.IFLA_NUM_RX_QUEUES} {
		req.AddData(nl.NewRtAttr(queues, nl.Uint32Attr(1)))
		far.AddRtAttr(queues, nl.Uint32Attr(1))
	}
	if d.MTU != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(d.MTU))))
		far.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(d.MTU)))
	}
	if mac != nil {
		req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	if peerMAC != nil {
		far.AddRtAttr(unix.IFLA_ADDRESS, peerMAC)
	}
	req.AddData(info)
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return wrote(err)
}

// pairIs reports whether the far end is where, and called what, the plan says.
func (h *realHand) pairIs(c *conn, l *netlink.Veth, d plan.Device) bool {
	if d.PeerName == "" {
		return true
	}
	peer, err := h.conn(d.PeerNS)
	if err != nil {
		return false
	}
	far, err := peer.LinkByName(d.PeerName)
	if err != nil || far.Attrs().Index != l.ParentIndex {
		return false
	}
	if peer == c {
		return l.NetNsID < 0
	}
	id, err := c.GetNetNsIdByFd(peer.fd)
	return err == nil && id == l.NetNsID
}

// adjustPeer brings the far end into the wanted form. Its MTU follows the near
// end's: two MTUs on one wire lose packets without a word.
func (h *realHand) adjustPeer(d plan.Device, near *netlink.LinkAttrs) (writes int, err error) {
	if d.PeerName == "" {
		return 0, nil
	}
	c, err := h.conn(d.PeerNS)
	if err != nil {
		return 0, err
	}
	l, err := c.LinkByName(d.PeerName)
	if err != nil {
		return 0, fmt.Errorf("peer %s: %w", d.PeerName, err)
	}
	a := l.Attrs()
	if a.Index != near.ParentIndex {
		return 0, fmt.Errorf("peer %s: %w", d.PeerName, ErrForeign)
	}
	h.index[plan.DeviceKey{NS: d.PeerNS, Name: d.PeerName}] = a.Index
	mac, err := parseMAC(d.PeerMAC)
	if err != nil {
		return 0, err
	}
	if mac != nil && a.HardwareAddr.String() != d.PeerMAC {
		if err := c.LinkSetHardwareAddr(l, mac); err != nil {
			return writes, fmt.Errorf("set mac of peer: %w", err)
		}
		writes++
	}
	if d.MTU != 0 && a.MTU != d.MTU {
		if err := c.LinkSetMTU(l, d.MTU); err != nil {
			return writes, fmt.Errorf("set mtu of peer: %w", err)
		}
		writes++
	}
	if a.Flags&unix.IFF_UP == 0 {
		if err := c.LinkSetUp(l); err != nil {
			return writes, fmt.Errorf("set peer up: %w", err)
		}
		writes++
	}
	return writes, nil
}
