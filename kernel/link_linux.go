// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// skipStats keeps the counters of devices out of answers: they are half of each.
// Source: linux/rtnetlink.h, RTEXT_FILTER_SKIP_STATS. A kernel that does not
// know it (before 4.4) sends them.
const skipStats = 1 << 3

// seen is a device as the kernel tells of it, with what is below
// /proc/sys/net/ipv4/conf and net/ipv6/conf for it: numbers of 32 bits, in the
// kernel's own order.
type seen struct {
	netlink.Link
	conf4, conf6 []byte
}

// LinkByName stands in front of the library's, which reads a hundred attributes
// of which we need ten: to look at a device is a third of what a pod costs in
// memory. The error for a device that is not there wraps ENODEV.
func (c *conn) LinkByName(name string) (netlink.Link, error) {
	s, err := c.look(0, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	return s.Link, err
}

// LinkByIndex is LinkByName by the device's number.
func (c *conn) LinkByIndex(index int) (netlink.Link, error) {
	s, err := c.look(index)
	return s.Link, err
}

func (c *conn) look(index int, which ...nl.NetlinkRequestData) (out seen, err error) {
	err = c.eachLink(index, 0, which, func(s seen) { out = s })
	if err == nil && out.Link == nil {
		err = unix.ENODEV
	}
	return out, err
}

// LinkList stands in front of the library's, as LinkByName does.
func (c *conn) LinkList() ([]netlink.Link, error) {
	var out []netlink.Link
	err := c.eachLink(0, unix.NLM_F_DUMP, nil, func(s seen) { out = append(out, s.Link) })
	return out, err
}

// eachLink calls f for each device of an answer. While it does, nothing else can
// be asked on this conn.
func (c *conn) eachLink(index, flags int, which []nl.NetlinkRequestData, f func(seen)) error {
	req, err := c.request(unix.RTM_GETLINK, flags)
	if err != nil {
		return err
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	for _, a := range which {
		req.AddData(a)
	}
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	var failed error
	err = req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(m []byte) bool {
		var s seen
		if s, failed = readLink(m); failed != nil {
			return false
		}
		f(s)
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

// readLink reads a message about a device. What a kind has beside the common
// attributes, the library reads.
func readLink(m []byte) (seen, error) {
	a, kind, s, err := readAttrs(m)
	switch {
	case err != nil:
	case kind == string(plan.Veth):
		s.Link = &netlink.Veth{LinkAttrs: a}
	case kind == "":
		s.Link = &netlink.Device{LinkAttrs: a}
	default:
		s.Link, err = netlink.LinkDeserialize(nil, m)
	}
	return s, err
}

// readAttrs reads what every device has.
func readAttrs(m []byte) (a netlink.LinkAttrs, kind string, s seen, err error) {
	if len(m) < unix.SizeofIfInfomsg {
		return a, "", s, fmt.Errorf("message about a device has %d bytes: %w", len(m), unix.EINVAL)
	}
	order := nl.NativeEndian()
	a = netlink.LinkAttrs{Index: int(int32(order.Uint32(m[4:]))), RawFlags: order.Uint32(m[8:]), NetNsID: -1}
	if a.RawFlags&unix.IFF_UP != 0 {
		a.Flags = net.FlagUp
	}
	eachAttr(m[unix.SizeofIfInfomsg:], func(t uint16, v []byte) {
		switch {
		case t == unix.IFLA_IFNAME:
			a.Name = text(v)
		case t == unix.IFLA_IFALIAS:
			a.Alias = text(v)
		case t == unix.IFLA_ADDRESS:
			a.HardwareAddr = net.HardwareAddr(v)
		case t == unix.IFLA_LINKINFO:
			kind = kindIn(v)
		case t == unix.IFLA_AF_SPEC:
			s.conf4, s.conf6 = confIn(v)
		case len(v) != 4: // the rest are numbers
		case t == unix.IFLA_MTU:
			a.MTU = int(order.Uint32(v))
		case t == unix.IFLA_GROUP:
			a.Group = order.Uint32(v)
		case t == unix.IFLA_LINK:
			a.ParentIndex = int(int32(order.Uint32(v)))
		case t == unix.IFLA_LINK_NETNSID:
			a.NetNsID = int(int32(order.Uint32(v)))
		}
	})
	return a, kind, s, nil
}

// kindIn returns the kind of a device: IFLA_INFO_KIND in IFLA_LINKINFO.
func kindIn(info []byte) (kind string) {
	eachAttr(info, func(t uint16, v []byte) {
		if t == nl.IFLA_INFO_KIND {
			kind = text(v)
		}
	})
	return kind
}

// confIn returns the settings of a device by family. Source: linux
// net/ipv4/devinet.c, inet_fill_link_af; net/ipv6/addrconf.c, inet6_fill_ifla6_attrs.
func confIn(spec []byte) (conf4, conf6 []byte) {
	const inetConf, inet6Conf = unix.IFLA_INET_CONF, unix.IFLA_INET6_CONF
	eachAttr(spec, func(family uint16, attrs []byte) {
		eachAttr(attrs, func(t uint16, v []byte) {
			switch {
			case family == unix.AF_INET && t == inetConf:
				conf4 = v
			case family == unix.AF_INET6 && t == inet6Conf:
				conf6 = v
			}
		})
	})
	return conf4, conf6
}

// eachAttr calls f for each attribute of a message, without its flags. What is
// cut short is not an attribute.
func eachAttr(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:size])
		b = b[min((size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
	}
}

// text is a string that may end with a zero.
func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }
