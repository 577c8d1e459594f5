// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vethMessage is what a kernel says about a device of a pod.
func vethMessage() []byte {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags = 7, unix.IFF_UP|unix.IFF_BROADCAST
	attr := func(t int, v []byte) []byte { return nl.NewRtAttr(t, v).Serialize() }
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.ZeroTerminated("veth"))
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF, bytes.Repeat([]byte{1, 0, 0, 0}, 33))
	return bytes.Join([][]byte{
		msg.Serialize(),
		attr(unix.IFLA_IFNAME, nl.ZeroTerminated("magp1")), attr(unix.IFLA_IFALIAS, nl.ZeroTerminated("magpie:cni")),
		attr(unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 1}), attr(unix.IFLA_MTU, nl.Uint32Attr(1450)),
		attr(unix.IFLA_GROUP, nl.Uint32Attr(202)), attr(unix.IFLA_LINK, nl.Uint32Attr(2)),
		attr(unix.IFLA_LINK_NETNSID, nl.Uint32Attr(5)), info.Serialize(), spec.Serialize(),
	}, nil)
}

// FuzzReadAttrs wants no message to end the agent.
func FuzzReadAttrs(f *testing.F) {
	f.Add(vethMessage())
	f.Add([]byte{})
	f.Add(vethMessage()[:40])
	f.Fuzz(func(t *testing.T, m []byte) {
		a, _, s, err := readAttrs(m)
		if short := len(m) < unix.SizeofIfInfomsg; short != (err != nil) {
			t.Fatalf("%d bytes: %v", len(m), err)
		}
		c, known := confOf("net/ipv4/conf/magp1/rp_filter")
		if _, told := c.in(s); !known || told && len(s.conf4) == 0 {
			t.Fatalf("device %q has settings out of nothing", a.Name)
		}
	})
}

// TestReadLinkLikeTheLibrary compares what we read with what the library reads.
func TestReadLinkLikeTheLibrary(t *testing.T) {
	got, err := readLink(vethMessage())
	if err != nil {
		t.Fatal(err)
	}
	want, err := netlink.LinkDeserialize(nil, vethMessage())
	if err != nil {
		t.Fatal(err)
	}
	a, b := got.Attrs(), want.Attrs()
	if a.Index != b.Index || a.Name != b.Name || a.Alias != b.Alias || a.MTU != b.MTU || a.Group != b.Group ||
		a.ParentIndex != b.ParentIndex || a.NetNsID != b.NetNsID || a.HardwareAddr.String() != b.HardwareAddr.String() ||
		a.Flags&unix.IFF_UP != b.Flags&unix.IFF_UP || a.RawFlags != b.RawFlags || got.Type() != want.Type() {
		t.Errorf("read %+v, the library %+v", a, b)
	}
	c, _ := confOf("net/ipv4/conf/magp1/rp_filter")
	if v, ok := c.in(got); v != "1" || !ok {
		t.Errorf("rp_filter %q, %v", v, ok)
	}
	if v, ok := (conf{v6: true, at: 3}).in(got); ok {
		t.Errorf("a device without IPv6 has accept_ra %q", v)
	}
}
