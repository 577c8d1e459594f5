// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// createVXLAN makes the device. Where Flannel's device already has the VNI and
// the port, it becomes ours: the node keeps its MAC, so that no other node
// notices the move.
func (h *realHand) createVXLAN(c *conn, d plan.Device) (int, error) {
	attrs, err := h.attrs(d)
	if err != nil {
		return 0, err
	}
	under, err := c.LinkByName(d.Underlay)
	if err != nil {
		return 0, fmt.Errorf("underlay %s: %w", d.Underlay, err)
	}
	err = c.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: d.VNI, Port: d.Port,
		VtepDevIndex: under.Attrs().Index, SrcAddr: d.Local.AsSlice(),
	})
	if !isThere(err) {
		return wrote(err)
	}
	if adopted, aerr := h.adoptFlannel(c, d); aerr != nil || adopted {
		return 2, aerr
	}
	return 0, fmt.Errorf("vni %d port %d is taken by another device: %w", d.VNI, d.Port, err)
}

// adoptFlannel renames Flannel's device of the same VNI, port and family to
// ours. A device must be down to be renamed; adjust puts it up again.
func (h *realHand) adoptFlannel(c *conn, d plan.Device) (bool, error) {
	name := fmt.Sprintf("flannel.%d", d.VNI)
	if d.Local.Is6() {
		name = fmt.Sprintf("flannel-v6.%d", d.VNI)
	}
	l, err := c.LinkByName(name)
	if err != nil {
		return false, nil //nolint:nilerr // something else is in the way; the caller says so
	}
	v, ok := l.(*netlink.Vxlan)
	if !ok || v.VxlanId != d.VNI || v.Port != d.Port || !strings.HasPrefix(d.Name, prefix) {
		return false, nil
	}
	if err := c.LinkSetDown(l); err != nil {
		return false, fmt.Errorf("adopt %s: %w", name, err)
	}
	if err := c.LinkSetName(l, d.Name); err != nil {
		return false, fmt.Errorf("adopt %s: %w", name, err)
	}
	if err := c.LinkSetGroup(l, int(h.owner.Proto)); err != nil {
		return false, fmt.Errorf("adopt %s: %w", name, err)
	}
	return true, nil
}

// vxlanDiffers reports whether what the kernel can change in place differs.
func (h *realHand) vxlanDiffers(c *conn, v *netlink.Vxlan, d plan.Device) bool {
	local, _ := netip.AddrFromSlice(v.SrcAddr)
	if local.Unmap() != d.Local || v.Learning {
		return true
	}
	under, err := c.LinkByName(d.Underlay)
	return err != nil || under.Attrs().Index != v.VtepDevIndex
}

// changeVXLAN changes source address, underlay and learning in place, so that
// neighbours and forwarding entries stay when a node's address changes. Built
// by hand because the kernel refuses a change that names a field it cannot
// change, even with the same value.
func (h *realHand) changeVXLAN(c *conn, v *netlink.Vxlan, d plan.Device) error {
	under, err := c.LinkByName(d.Underlay)
	if err != nil {
		return fmt.Errorf("underlay %s: %w", d.Underlay, err)
	}
	req, err := c.request(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	if err != nil {
		return err
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(v.Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_LINK, nl.Uint32Attr(uint32(under.Attrs().Index)))
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, []byte{0})
	if d.Local.Is4() {
		data.AddRtAttr(nl.IFLA_VXLAN_LOCAL, d.Local.AsSlice())
	} else {
		data.AddRtAttr(nl.IFLA_VXLAN_LOCAL6, d.Local.AsSlice())
	}
	req.AddData(info)
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
