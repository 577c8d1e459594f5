// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

const (
	// filterPrefix begins the names of our filters.
	filterPrefix = "magpie:"
	// filterPriority is their place on a device: most others' come before, and
	// see each packet.
	filterPriority = 20000
)

// clsactOf is where programs hang. It may be there already, with others' in it.
func clsactOf(index int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

func filterOf(index int, name string, fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1,
			Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: fd, Name: filterPrefix + name, DirectAction: true,
	}
}

// filterOn returns our filter on a device, or nil.
func filterOn(c *conn, index int) (*netlink.BpfFilter, error) {
	filters, err := c.FilterList(deviceAt(index), netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil, err
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && strings.HasPrefix(b.Name, filterPrefix) {
			return b, nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}

func deviceAt(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// readFastPath reads the programs on the owner's devices and its shortcuts.
func (r *reader) readFastPath(s *space) error {
	f := &r.w.host.fast
	if len(r.hooked) == 0 && f.get() == nil {
		return nil // and so no map to read
	}
	objects, failed := f.open(s.conn)
	for _, index := range r.hooked {
		found, err := filterOn(s.conn, index)
		if isGone(err) || found == nil && err == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("list filters of %s: %w", s.name(index), err)
		}
		p := plan.Program{Dev: s.name(index), Name: strings.TrimPrefix(found.Name, filterPrefix)}
		if failed != nil || !f.sound(objects, found, p.Name) || !objects.open(p.Name, index) {
			p.Name += unsound
		}
		r.plan.Programs = append(r.plan.Programs, p)
	}
	if failed != nil {
		return nil //nolint:nilerr // what is attached is not as wanted; why, the write will say
	}
	all, err := objects.entries()
	if err != nil {
		return err
	}
	for k, v := range all {
		if v.Owner != uint32(r.w.owner.Proto) {
			continue
		}
		x := plan.Shortcut{Addr: entryAddr(k), Dev: plan.Gone, MAC: macOf(v.Mac), From: macOf(v.Host)}
		if l, ok := s.links[int(v.Ifindex)]; ok {
			x.Dev = l.Attrs().Name
		}
		r.plan.Shortcuts = append(r.plan.Shortcuts, x)
	}
	return nil
}

// open reports whether what the program needs to know of its device is there.
func (o *fastpathObjects) open(name string, index int) bool {
	var one uint32
	return name != plan.FromOverlay || o.MagWays.Lookup(uint32(index), &one) == nil
}

// writeProgram attaches a program, in place of an older one of ours if there
// is one, or takes ours away.
func (h *realHand) writeProgram(p plan.Program, drop bool) (int, error) {
	c, index, err := h.at("", p.Dev)
	if err != nil {
		if drop {
			return removed(err)
		}
		return 0, err
	}
	if drop {
		return h.detach(c, index)
	}
	o, err := h.host.fast.open(c)
	if err != nil {
		return 0, err
	}
	program := o.program(p.Name)
	if program == nil {
		return 0, fmt.Errorf("program %q: not known to this door", p.Name)
	}
	if p.Name == plan.FromOverlay {
		if err := o.MagWays.Put(uint32(index), uint32(1)); err != nil {
			return 0, fmt.Errorf("open %s: %w", p.Dev, err)
		}
	}
	if err := c.QdiscAdd(clsactOf(index)); err != nil && !isThere(err) {
		return 0, fmt.Errorf("add clsact: %w", err)
	}
	return wrote(c.FilterReplace(filterOf(index, p.Name, program.FD())))
}

// detach removes our filter. What it hung on stays until the device goes: to
// take it away, as to put it there, the kernel stops the device for a moment
// and drops what it was sending.
func (h *realHand) detach(c *conn, index int) (int, error) {
	if o := h.host.fast.get(); o != nil {
		if err := o.MagWays.Delete(uint32(index)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return 0, fmt.Errorf("close device: %w", err)
		}
	}
	return removed(c.FilterDel(filterOf(index, "", -1)))
}

// writeShortcut adds or changes a shortcut. It removes one only while it leads
// where the plan has seen it lead: the address may be another pod's by now.
func (h *realHand) writeShortcut(s plan.Shortcut, drop bool) (int, error) {
	o, err := h.host.fast.open(h.host.conn)
	if err != nil {
		return 0, err
	}
	if drop {
		return h.dropShortcut(o, s)
	}
	_, index, err := h.at("", s.Dev)
	if err != nil {
		return 0, err
	}
	v := fastpathPod{Ifindex: uint32(index), Owner: uint32(h.owner.Proto)}
	if v.Mac, err = macBytes(s.MAC); err != nil {
		return 0, err
	}
	if v.Host, err = macBytes(s.From); err != nil {
		return 0, err
	}
	return wrote(o.MagPods.Put(entryKey(s.Addr), v))
}

func (h *realHand) dropShortcut(o *fastpathObjects, s plan.Shortcut) (int, error) {
	var v fastpathPod
	err := o.MagPods.Lookup(entryKey(s.Addr), &v)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up: %w", err)
	}
	l, err := h.host.conn.LinkByIndex(int(v.Ifindex))
	switch {
	case err == nil && l.Attrs().Name != s.Dev:
		return 0, nil
	case err != nil && !isGone(err):
		return 0, fmt.Errorf("device of %s: %w", s, err)
	}
	if err := o.MagPods.Delete(entryKey(s.Addr)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, err
	}
	return 1, nil
}
