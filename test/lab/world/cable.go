// SPDX-License-Identifier: Apache-2.0

package world

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/test/lab/machine"
)

// cable is a veth pair between two machines.
type cable struct{ a, devA, b, devB string }

// cables of the world. Devices of a router's LAN side bear the host's name,
// devices of the internet that of the site.
func cables() []cable {
	cs := []cable{
		{Internet, Outside, Outside, "eth0"},
		{"vpc-gw", "xc0", "plant-gw", "xc0"},
	}
	for _, s := range Sites() {
		cs = append(cs, cable{Internet, s.Name, s.Router(), "wan"})
	}
	for _, h := range Hosts() {
		s, _ := FindSite(h.Site)
		cs = append(cs, cable{s.Router(), h.Name, h.Name, "eth0"})
	}
	return cs
}

// plug lays one cable unless it is there. A machine that dies takes its cables
// along, but the kernel does so in its own time: an end whose other end is not
// where it should be belongs to a cable that is going away.
func plug(lab string, c cable) error {
	ha, nsA, err := open(lab, c.a)
	if err != nil {
		return err
	}
	defer nsA.Close()
	defer ha.Close()
	hb, nsB, err := open(lab, c.b)
	if err != nil {
		return err
	}
	defer nsB.Close()
	defer hb.Close()
	endA, errA := end(ha, c.a, c.devA)
	endB, errB := end(hb, c.b, c.devB)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if endA != nil && endB != nil {
		return nil
	}
	if err := errors.Join(pull(ha, endA), pull(hb, endB)); err != nil {
		return fmt.Errorf("pull half a cable from %s:%s to %s:%s: %w", c.a, c.devA, c.b, c.devB, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.devA
	err = ha.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: c.devB, PeerNamespace: netlink.NsFd(int(nsB))})
	if err != nil {
		return fmt.Errorf("plug %s:%s to %s:%s: %w", c.a, c.devA, c.b, c.devB, err)
	}
	return nil
}

// end looks for one end of a cable; nil if it is not there.
func end(h *netlink.Handle, machine, dev string) (netlink.Link, error) {
	link, err := h.LinkByName(dev)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s in %s: %w", dev, machine, err)
	}
	return link, nil
}

// pull removes an end that is there and with it the other one, wherever it is.
func pull(h *netlink.Handle, link netlink.Link) error {
	if link == nil {
		return nil
	}
	if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

func open(lab, name string) (*netlink.Handle, netns.NsHandle, error) {
	path, err := machine.NetNS(lab, name)
	if err != nil {
		return nil, 0, err
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open network of %s: %w", name, err)
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		ns.Close()
		return nil, 0, fmt.Errorf("open network of %s: %w", name, err)
	}
	return h, ns, nil
}
