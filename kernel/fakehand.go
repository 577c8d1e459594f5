// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/magpie-edge/magpie/plan"
)

// fakeHand writes to a Fake whose mutex the caller holds.
type fakeHand struct {
	f     *Fake
	owner plan.Owner
	mine  *plan.Plan
}

// device adds or changes a device. See hand.
func (h *fakeHand) device(_ context.Context, s plan.Step) (fresh bool, writes int, err error) {
	d, _ := s.Item.(plan.Device)
	if err := h.f.Faults.write(s); err != nil {
		return false, 0, err
	}
	owner, old := h.f.find(d.Key())
	if old != nil && (owner != h.owner.Name || old.Key() != d.Key()) {
		return false, 0, fmt.Errorf("device %s %w", d.Name, ErrForeign)
	}
	if old == nil {
		n, err := wrote(h.create(d))
		return err == nil, n, err
	}
	if fakeMustRecreate(*old, d) {
		h.f.removeDevice(*old)
		n, err := wrote(h.create(d))
		return true, n + 1, err
	}
	if old.Same(d) {
		return false, 0, nil
	}
	was := *old
	*old = filled(d, was)
	for i, end := range ends(*old) { // a new MAC drops all neighbours
		if (i == 0 && was.MAC != old.MAC) || (i == 1 && was.PeerMAC != old.PeerMAC) {
			h.dropNeighs(func(n plan.Neigh) bool { return n.NS == end.NS && n.Dev == end.Name })
			fresh = true
		}
	}
	return fresh, 1, nil
}

// filled leaves to the kernel what the plan leaves to it.
func filled(d, old plan.Device) plan.Device {
	if d.MAC == "" {
		d.MAC = old.MAC
	}
	if d.PeerMAC == "" {
		d.PeerMAC = old.PeerMAC
	}
	if d.MTU == 0 {
		d.MTU = old.MTU
	}
	if d.ListenPort == 0 {
		d.ListenPort = old.ListenPort
	}
	return d
}

// fakeMustRecreate is what the kernel cannot change in place.
func fakeMustRecreate(old, d plan.Device) bool {
	return old.Kind != d.Kind || old.PeerNS != d.PeerNS || old.PeerName != d.PeerName ||
		old.VNI != d.VNI || old.Port != d.Port || old.Local.Is4() != d.Local.Is4()
}

func (h *fakeHand) create(d plan.Device) error {
	for _, end := range ends(d) {
		switch {
		case h.f.spaces[end.NS] == nil:
			return fmt.Errorf("%s: %w", end.NS, ErrNoNamespace)
		case h.f.there(end):
			return fmt.Errorf("device %s: %w", end.Name, syscall.EEXIST)
		}
	}
	switch d.Kind {
	case plan.Veth, plan.IFB:
	case plan.VXLAN:
		if !h.f.there(plan.DeviceKey{NS: d.NS, Name: d.Underlay}) {
			return fmt.Errorf("underlay %s: %w", d.Underlay, syscall.ENODEV)
		}
		clashes := func(other plan.Device) bool {
			return other.Kind == plan.VXLAN && other.VNI == d.VNI && other.Port == d.Port && other.Local.Is4() == d.Local.Is4()
		}
		for _, p := range h.f.owned {
			if slices.ContainsFunc(p.Devices, clashes) {
				return fmt.Errorf("vni %d port %d is taken by another device: %w", d.VNI, d.Port, syscall.EEXIST)
			}
		}
	case plan.WireGuard:
		if d.PublicKey == "" {
			return errors.New("no private key for public key ")
		}
	default:
		return fmt.Errorf("kind %q: no such kind of device", d.Kind)
	}
	h.mine.Devices = append(h.mine.Devices, d)
	return nil
}

// write does one step. See hand.
func (h *fakeHand) write(_ context.Context, s plan.Step) (int, error) {
	if err := h.f.Faults.write(s); err != nil {
		return 0, err
	}
	if s.Op != plan.Remove {
		if err := h.allowed(s.Item); err != nil {
			return 0, err
		}
	}
	switch i := s.Item.(type) {
	case plan.Device:
		return h.removeDevice(i)
	case plan.Sysctl:
		return h.sysctl(i)
	case plan.Addr:
		return h.addr(s.Op, i), nil
	case plan.Neigh:
		return put(&h.mine.Neighs, s.Op, i), nil
	case plan.FDB:
		return put(&h.mine.FDBs, s.Op, i), nil
	case plan.Route:
		return h.route(s.Op, i)
	case plan.Rule:
		return put(&h.mine.Rules, s.Op, i), nil
	case plan.Shape:
		return put(&h.mine.Shapes, s.Op, i), nil
	case plan.Peer:
		return h.peer(s.Op, i), nil
	case plan.Allowed:
		return put(&h.mine.Allowed, s.Op, i), nil
	case plan.Accept:
		return put(&h.mine.Accepts, s.Op, i), nil
	case plan.Program:
		return put(&h.mine.Programs, s.Op, i), nil
	case plan.Shortcut:
		if s.Op == plan.Remove && !slices.Contains(h.mine.Shortcuts, i) {
			return 0, nil // it leads to another pod by now
		}
		return put(&h.mine.Shortcuts, s.Op, i), nil
	default:
		return 0, fmt.Errorf("item %T: not known to this door", s.Item)
	}
}

// put adds, replaces or removes the item with the same key and returns the
// number of writes.
func put[T interface {
	comparable
	Key() K
}, K comparable](items *[]T, op plan.Op, item T) int {
	list := slices.Clone(*items)
	i := slices.IndexFunc(list, func(x T) bool { return x.Key() == item.Key() })
	switch {
	case op == plan.Remove && i < 0, op == plan.Add && i >= 0 && list[i] == item:
		return 0
	case op == plan.Remove:
		*items = slices.Delete(list, i, i+1)
	case i >= 0:
		list[i] = item
		*items = list
	default:
		*items = append(list, item)
	}
	return 1
}

// allowed checks what an item needs to be there before it.
func (h *fakeHand) allowed(item fmt.Stringer) error {
	on, ok := deviceOf(item)
	if !ok {
		return nil
	}
	if h.f.spaces[on.NS] == nil {
		return fmt.Errorf("%s: %w", on.NS, ErrNoNamespace)
	}
	if !h.f.there(on) {
		return fmt.Errorf("device %s: %w", on.Name, syscall.ENODEV)
	}
	_, d := h.f.find(on)
	kind := plan.Kind("")
	if d != nil {
		kind = d.Kind
	}
	switch i := item.(type) {
	case plan.FDB:
		if kind != plan.VXLAN {
			return syscall.EOPNOTSUPP
		}
	case plan.Peer, plan.Allowed:
		if kind != plan.WireGuard {
			return fmt.Errorf("wireguard device %s: %w", on.Name, syscall.ENODEV)
		}
	case plan.Shape:
		if i.Redirect != "" && !h.f.there(plan.DeviceKey{NS: i.NS, Name: i.Redirect}) {
			return fmt.Errorf("device %s: %w", i.Redirect, syscall.ENODEV)
		}
	}
	return nil
}

func (h *fakeHand) removeDevice(d plan.Device) (int, error) {
	i := slices.IndexFunc(h.mine.Devices, func(x plan.Device) bool { return x.Key() == d.Key() })
	if i < 0 {
		return 0, nil
	}
	h.f.removeDevice(h.mine.Devices[i])
	return 1, nil
}

// deviceTrees are where settings of a device are.
const deviceTrees = "net/ipv4/conf/ net/ipv6/conf/ net/ipv4/neigh/ net/ipv6/neigh/"

func (h *fakeHand) sysctl(s plan.Sysctl) (int, error) {
	space := h.f.spaces[s.NS]
	if space == nil {
		return 0, fmt.Errorf("%s: %w", s.NS, ErrNoNamespace)
	}
	for tree := range strings.FieldsSeq(deviceTrees) {
		rest, ok := strings.CutPrefix(s.Name, tree)
		dev, _, _ := strings.Cut(rest, "/")
		if ok && dev != "all" && dev != "default" && !h.f.there(plan.DeviceKey{NS: s.NS, Name: dev}) {
			return 0, fmt.Errorf("write sysctl: %w", syscall.ENOENT)
		}
	}
	if space.sysctls[s.Name] == s.Value {
		return 0, nil
	}
	space.sysctls[s.Name] = s.Value
	return 1, nil
}

func (h *fakeHand) dropNeighs(which func(plan.Neigh) bool) {
	for _, p := range h.f.owned {
		p.Neighs = slices.DeleteFunc(slices.Clone(p.Neighs), which)
	}
}

// addr takes things along when it goes: routes that prefer it as their source
// and, as the last IPv4 address of its device, all IPv4 routes and neighbours.
func (h *fakeHand) addr(op plan.Op, a plan.Addr) int {
	n := put(&h.mine.Addrs, op, a)
	if op != plan.Remove || n == 0 {
		return n
	}
	last := a.Prefix.Addr().Is4() && !slices.ContainsFunc(h.addrs(a.NS, a.Dev), func(p netip.Prefix) bool { return p.Addr().Is4() })
	if last {
		h.dropNeighs(func(n plan.Neigh) bool { return n.NS == a.NS && n.Dev == a.Dev && n.IP.Is4() })
	}
	for _, p := range h.f.owned {
		p.Routes = slices.DeleteFunc(slices.Clone(p.Routes), func(r plan.Route) bool {
			return r.NS == a.NS && r.Dst.Addr().Is4() && (r.Src == a.Prefix.Addr() || (last && r.Dev == a.Dev))
		})
		for i := range p.Routes {
			if r := &p.Routes[i]; r.NS == a.NS && r.Src == a.Prefix.Addr() {
				r.Src = netip.Addr{} // IPv6 keeps the route without the preference
			}
		}
	}
	return n
}

// peer takes its allowed IPs along when it goes.
func (h *fakeHand) peer(op plan.Op, p plan.Peer) int {
	if op == plan.Remove {
		h.mine.Allowed = slices.DeleteFunc(slices.Clone(h.mine.Allowed), func(a plan.Allowed) bool {
			return a.Dev == p.Dev && a.Peer == p.PublicKey
		})
	}
	return put(&h.mine.Peers, op, p)
}

// route checks the next hop and whose route is already there.
func (h *fakeHand) route(op plan.Op, r plan.Route) (int, error) {
	if op == plan.Remove {
		return put(&h.mine.Routes, op, r), nil
	}
	if r.Table == 254 {
		r.Table = 0 // as the kernel door reports the main table
	}
	if err := h.reachable(r); err != nil {
		return 0, err
	}
	if r.Src.IsValid() && !h.hasAddr(r) {
		return 0, fmt.Errorf("source %s: %w", r.Src, syscall.EINVAL)
	}
	for name, p := range h.f.owned {
		i := slices.IndexFunc(p.Routes, func(x plan.Route) bool { return x.Key() == r.Key() })
		if i < 0 || name == h.owner.Name {
			continue
		}
		if whose, d := h.f.find(plan.DeviceKey{NS: p.Routes[i].NS, Name: p.Routes[i].Dev}); d == nil || whose != h.owner.Name {
			return 0, fmt.Errorf("a route of %s %w", name, ErrForeign)
		}
		p.Routes = slices.Delete(slices.Clone(p.Routes), i, i+1) // by our device: taken over
	}
	return put(&h.mine.Routes, op, r), nil
}

// reachable reports whether the next hop is: by its flag, by an on-link route
// or by an address of the device. An IPv6 link-local next hop always is.
func (h *fakeHand) reachable(r plan.Route) error {
	if !r.Via.IsValid() || r.OnLink || (r.Via.Is6() && r.Via.IsLinkLocalUnicast()) {
		return nil
	}
	for _, p := range h.f.owned {
		for _, x := range p.Routes {
			if x.NS == r.NS && x.Dev == r.Dev && !x.Via.IsValid() && x.Dst.Contains(r.Via) {
				return nil
			}
		}
	}
	for _, a := range h.addrs(r.NS, r.Dev) {
		if a.Contains(r.Via) {
			return nil
		}
	}
	if r.Via.Is6() {
		return syscall.EHOSTUNREACH
	}
	return syscall.ENETUNREACH
}

func (h *fakeHand) hasAddr(r plan.Route) bool {
	space := h.f.spaces[r.NS]
	for dev := range space.foreign {
		for _, a := range space.foreign[dev] {
			if a.Addr() == r.Src {
				return true
			}
		}
	}
	for _, p := range h.f.owned {
		for _, a := range p.Addrs {
			if a.NS == r.NS && a.Prefix.Addr() == r.Src {
				return true
			}
		}
	}
	return false
}

func (h *fakeHand) addrs(ns, dev string) []netip.Prefix {
	out := slices.Clone(h.f.spaces[ns].foreign[dev])
	for _, p := range h.f.owned {
		for _, a := range p.Addrs {
			if a.NS == ns && a.Dev == dev {
				out = append(out, a.Prefix)
			}
		}
	}
	return out
}
