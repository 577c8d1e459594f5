// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// conf is a setting below /proc/sys/net/ipv4/conf or net/ipv6/conf that the
// kernel also tells with its device. To read it there costs nothing, and to open
// a file there costs as much as to add a route: the kernel makes an inode for
// each, and asks every network namespace that has one of the same name.
type conf struct {
	v6  bool
	dev string
	at  int // among the numbers of the device
}

// confOf finds the conf of a setting; false if it is none, or none we know.
// Source: linux/ip.h, IPV4_DEVCONF_* less one; linux/ipv6.h, DEVCONF_*.
func confOf(name string) (conf, bool) {
	words := strings.Split(name, "/")
	if len(words) != 5 || words[0] != "net" || words[2] != "conf" || words[3] == "all" || words[3] == "default" {
		return conf{}, false
	}
	c := conf{v6: words[1] == "ipv6", dev: words[3]}
	switch words[1] + "/" + words[4] {
	case "ipv4/rp_filter":
		c.at = 7
	case "ipv4/route_localnet":
		c.at = 25
	case "ipv6/accept_ra":
		c.at = 3
	case "ipv6/disable_ipv6":
		c.at = 26
	case "ipv6/accept_dad":
		c.at = 27
	default:
		return conf{}, false
	}
	return c, true
}

// in returns the setting's value as its file has it; false if the device came
// without.
func (f conf) in(s seen) (string, bool) {
	numbers := s.conf4
	if f.v6 {
		numbers = s.conf6
	}
	const size = 4
	if len(numbers) < (f.at+1)*size {
		return "", false
	}
	return strconv.Itoa(int(int32(nl.NativeEndian().Uint32(numbers[f.at*size:])))), true
}

// told returns the value of a setting that came with its device, as far as the
// kernel was asked about devices where it is. A device that is not there has no
// settings: the error wraps fs.ErrNotExist.
func (r *reader) told(k plan.SysctlKey) (value string, ok bool, err error) {
	f, known := confOf(k.Key)
	i := slices.IndexFunc(r.spaces, func(s *space) bool { return s.path == k.NS })
	if !known || i < 0 {
		return "", false, nil
	}
	s := r.spaces[i]
	if s.named == nil {
		s.named = make(map[string]seen, len(s.links))
		for _, l := range s.links {
			s.named[l.Attrs().Name] = l
		}
	}
	l, there := s.named[f.dev]
	if !there {
		return "", false, fmt.Errorf("sysctl %s: no such device: %w", k.Key, fs.ErrNotExist)
	}
	value, ok = f.in(l)
	return value, ok, nil
}

// writeConf sets one of a device's settings by a message, if it differs. Those of
// IPv6 cannot be written so: handled is false.
func (h *realHand) writeConf(s plan.Sysctl) (handled bool, writes int, err error) {
	f, known := confOf(s.Name)
	if !known || f.v6 {
		return false, 0, nil
	}
	value, err := strconv.Atoi(s.Value)
	if err != nil {
		return true, 0, fmt.Errorf("%s: %w", s.Name, err)
	}
	c, index, err := h.at(s.NS, f.dev)
	if err != nil {
		return true, 0, err
	}
	k := plan.DeviceKey{NS: s.NS, Name: f.dev}
	if _, looked := h.conf[k]; !looked {
		if h.conf[k], err = c.look(index); err != nil {
			return true, 0, err
		}
	}
	if is, told := f.in(h.conf[k]); told && is == s.Value {
		return true, 0, nil
	}
	writes, err = wrote(c.setConf4(index, f.at+1, value))
	return true, writes, err
}

// setConf4 sets one of the numbers IPV4_DEVCONF_* of a device.
func (c *conn) setConf4(index, number, value int) error {
	req, err := c.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
	if err != nil {
		return err
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF, nil).
		AddRtAttr(number, nl.Uint32Attr(uint32(int32(value))))
	req.AddData(spec)
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
