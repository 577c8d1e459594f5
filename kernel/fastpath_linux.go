// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

//go:generate bpf/generate.sh

// fastPath is the eBPF programs of bpf/fastpath.c, loaded when first needed.
// Nothing is pinned: the filters of devices hold the programs, those hold the
// maps, and a process that starts anew finds the maps through them.
type fastPath struct {
	mu     sync.Mutex
	loaded *fastpathObjects
	tags   map[string]string // of our programs, by name
	known  map[int]bool      // by the id of an attached program: is it like ours, with our maps?
	last   string            // what changed has seen
}

// open loads the programs, with the maps of those that are attached if there
// are any.
func (f *fastPath) open(c *conn) (*fastpathObjects, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil {
		return f.loaded, nil
	}
	shared, err := sharedMaps(c)
	if err != nil {
		return nil, err
	}
	objects, err := loadPrograms(shared)
	if errors.Is(err, ebpf.ErrMapIncompatible) { // those of another release
		objects, err = loadPrograms(nil)
	}
	for _, m := range shared {
		m.Close() // a duplicate is in objects
	}
	if err != nil {
		return nil, fmt.Errorf("load fast path: %w", err)
	}
	tags := map[string]string{}
	for _, name := range []string{plan.FromOverlay, plan.FromPod} {
		info, err := objects.program(name).Info()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("look at program %s: %w", name, err), objects.Close())
		}
		tags[name] = info.Tag
	}
	f.loaded, f.tags, f.known = objects, tags, map[int]bool{}
	return objects, nil
}

func (f *fastPath) get() *fastpathObjects {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded
}

func (f *fastPath) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded == nil {
		return nil
	}
	err := f.loaded.Close()
	f.loaded = nil
	return err
}

func (o *fastpathObjects) program(name string) *ebpf.Program {
	switch name {
	case plan.FromOverlay:
		return o.FromOverlay
	case plan.FromPod:
		return o.FromPod
	default:
		return nil
	}
}

func loadPrograms(shared map[string]*ebpf.Map) (*fastpathObjects, error) {
	if err := wakeConntrack(); err != nil {
		return nil, err
	}
	spec, err := loadFastpath()
	if err != nil {
		return nil, err
	}
	// The kernel counts jiffies and tells nobody how many; the coarse clock
	// moves once in each.
	var tick unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick); err != nil {
		return nil, fmt.Errorf("resolution of the coarse clock: %w", err)
	}
	if err := spec.Variables["jiffies"].Set(uint32((1_000_000_000 + tick.Nsec/2) / max(tick.Nsec, 1))); err != nil {
		return nil, fmt.Errorf("set jiffies: %w", err)
	}
	var o fastpathObjects
	if err := spec.LoadAndAssign(&o, &ebpf.CollectionOptions{MapReplacements: shared}); err != nil {
		return nil, err
	}
	return &o, nil
}

// wakeConntrack asks conntrack for a number, whereupon the kernel loads it. It
// is a module that no rule may have needed yet, and the functions that look up
// connections, and their types, are in it.
func wakeConntrack() error {
	const getStats = 5 // IPCTNL_MSG_CT_GET_STATS. Source: linux/netfilter/nfnetlink_conntrack.h.
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|getStats, unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{Version: nl.NFNETLINK_V0})
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
		return fmt.Errorf("ask for connection tracking: %w", err)
	}
	return nil
}

// sharedMaps finds the maps of the programs that are attached to devices of
// ours. Not every program has all of them.
func sharedMaps(c *conn) (map[string]*ebpf.Map, error) {
	links, err := c.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	out := map[string]*ebpf.Map{}
	for _, l := range links {
		if !strings.HasPrefix(l.Attrs().Name, prefix) {
			continue
		}
		f, err := filterOn(c, l.Attrs().Index)
		if err != nil || f == nil {
			continue // none there, or the device has just gone
		}
		ids, err := mapsOf(f.Id)
		if err != nil {
			continue // replaced a moment ago
		}
		for _, id := range ids {
			m, err := ebpf.NewMapFromID(id)
			if err != nil {
				continue
			}
			info, err := m.Info()
			if err != nil || !strings.HasPrefix(info.Name, "mag_") || out[info.Name] != nil {
				m.Close()
				continue
			}
			out[info.Name] = m
		}
	}
	return out, nil
}

func mapsOf(program int) ([]ebpf.MapID, error) {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(program))
	if err != nil {
		return nil, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return nil, err
	}
	ids, _ := info.MapIDs()
	return ids, nil
}

// sound reports whether a filter of ours runs our program on our maps.
func (f *fastPath) sound(o *fastpathObjects, found *netlink.BpfFilter, name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !found.DirectAction || found.Tag != f.tags[name] {
		return false
	}
	ok, known := f.known[found.Id]
	if !known {
		ids, err := mapsOf(found.Id)
		ok = err == nil && has(ids, o.MagPods) && (name != plan.FromPod || has(ids, o.MagWays))
		f.known[found.Id] = ok
	}
	return ok
}

func has(ids []ebpf.MapID, m *ebpf.Map) bool {
	info, err := m.Info()
	if err != nil {
		return false
	}
	id, _ := info.ID()
	return slices.Contains(ids, id)
}

// entries returns the shortcuts as they are in the map.
func (o *fastpathObjects) entries() (map[fastpathAddr]fastpathPod, error) {
	out := map[fastpathAddr]fastpathPod{}
	var k fastpathAddr
	var v fastpathPod
	all := o.MagPods.Iterate()
	for all.Next(&k, &v) {
		out[k] = v
	}
	if err := all.Err(); errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, errors.Join(netlink.ErrDumpInterrupted, err)
	} else if err != nil {
		return nil, fmt.Errorf("list shortcuts: %w", err)
	}
	return out, nil
}

// changed reports whether the shortcuts are others than when it last looked.
func (f *fastPath) changed() bool {
	o := f.get()
	if o == nil {
		return false
	}
	all, err := o.entries()
	if err != nil {
		return false
	}
	now := fmt.Sprint(all) // maps are printed in the order of their keys
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.last
	f.last = now
	return was != now
}

// FastPathPackets is how many packets went by the fast path since it began;
// false if there is none.
func (h *Host) FastPathPackets() (count uint64, ok bool) {
	o := h.fast.get()
	if o == nil {
		return 0, false
	}
	var cpus []uint64
	if err := o.MagCount.Lookup(uint32(0), &cpus); err != nil {
		return 0, false
	}
	for _, n := range cpus {
		count += n
	}
	return count, true
}

// tryFastPath loads the programs and attaches one, in a namespace of its own.
func tryFastPath(attrs netlink.LinkAttrs) error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "magprobe2"}); err != nil {
		return err
	}
	l, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	o, err := loadPrograms(nil)
	if err != nil {
		return err
	}
	defer o.Close()
	if err := netlink.QdiscAdd(clsactOf(l.Attrs().Index)); err != nil {
		return fmt.Errorf("add clsact: %w", err)
	}
	return netlink.FilterReplace(filterOf(l.Attrs().Index, plan.FromPod, o.FromPod.FD()))
}

func entryKey(a netip.Addr) (k fastpathAddr) {
	b := a.As16()
	for i := range k.Word {
		k.Word[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return k
}

func entryAddr(k fastpathAddr) netip.Addr {
	var b [16]byte
	for i, w := range k.Word {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

func macOf(b [6]uint8) string { return net.HardwareAddr(b[:]).String() }

func macBytes(text string) (out [6]uint8, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(b) != len(out) {
		return out, fmt.Errorf("mac %q: not one", text)
	}
	return [6]uint8(b), nil
}
