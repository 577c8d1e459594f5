// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// Fake is a kernel in memory. It keeps the rules that tie kernel objects
// together: what lives on a device goes with it, a route needs its device and
// its next hop, an element its set. It passes the same scenarios as the real
// kernel. Safe for concurrent use.
type Fake struct {
	// Faults decides which writes fail; see Faults.
	Faults Faults

	mu sync.Mutex
	// spaces are the network namespaces, by path; "" is the host.
	spaces map[string]*fakeSpace
	// owned is everything with an owner's mark, by the owner's name.
	owned map[string]*plan.Plan
}

// fakeSpace is one network namespace: what is in it and has no owner's mark.
type fakeSpace struct {
	foreign map[string][]netip.Prefix // devices of others, with their addresses
	sysctls map[string]string
}

// NewFake returns a kernel with a host that has no devices.
func NewFake() *Fake {
	f := &Fake{spaces: map[string]*fakeSpace{}, owned: map[string]*plan.Plan{}}
	f.AddNamespace("")
	return f
}

// AddNamespace makes an empty network namespace.
func (f *Fake) AddNamespace(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spaces[path] == nil {
		f.spaces[path] = &fakeSpace{foreign: map[string][]netip.Prefix{}, sysctls: map[string]string{}}
	}
}

// DeleteNamespace removes a network namespace with all that is in it. A veth
// pair goes when either end does.
func (f *Fake) DeleteNamespace(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.owned {
		for _, d := range p.Devices {
			if d.NS == path || (d.Kind == plan.Veth && d.PeerNS == path) {
				f.removeDevice(d)
			}
		}
	}
	delete(f.spaces, path)
}

// AddDevice puts a device of somebody else's into a namespace, up and with
// addresses.
func (f *Fake) AddDevice(ns, name string, addrs ...netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spaces[ns].foreign[name] = addrs
}

// DeleteDevice removes a device as `ip link del` does, whoever's it is.
func (f *Fake) DeleteDevice(ns, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := plan.DeviceKey{NS: ns, Name: name}
	if _, d := f.find(k); d != nil {
		f.removeDevice(*d)
	}
	delete(f.spaces[ns].foreign, name)
}

// Own returns the part of the fake that carries the owner's mark, as Host.Own.
func (f *Fake) Own(owner plan.Owner, options ...OwnOption) reconcile.World[plan.Plan] {
	w := &fakeWorld{fake: f, owner: owner}
	for _, o := range options {
		o(&w.scope)
	}
	return w
}

type fakeWorld struct {
	fake     *Fake
	owner    plan.Owner
	scope    scope
	settings settings
}

// Observe returns what the owner has. See reconcile.World.
func (w *fakeWorld) Observe(ctx context.Context) (plan.Plan, error) {
	if err := w.fake.Faults.observe(); err != nil {
		return plan.Plan{}, fmt.Errorf("observe %s: %w", w.owner.Name, err)
	}
	seen := map[string]bool{"": true}
	if w.scope.namespaces != nil {
		for _, path := range w.scope.namespaces() {
			seen[path] = true
		}
	}
	settings := w.settings.keys(w.scope.sysctls)
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	p := visible(*w.fake.plan(w.owner), seen)
	for _, k := range settings {
		if v, ok := w.fake.setting(k); ok {
			p.Sysctls = append(p.Sysctls, plan.Sysctl{NS: k.NS, Name: k.Key, Value: v})
		} else {
			w.settings.forget(k)
		}
	}
	Sort(&p)
	return p, ctx.Err()
}

// setting returns a setting that somebody has written. The caller holds the
// mutex.
func (f *Fake) setting(k plan.SysctlKey) (value string, ok bool) {
	if s := f.spaces[k.NS]; s != nil {
		value, ok = s.sysctls[k.Key]
	}
	return value, ok
}

// visible is what can be seen from the host and the namespaces looked into.
func visible(p plan.Plan, seen map[string]bool) plan.Plan {
	hidden := map[plan.DeviceKey]bool{}
	p.Devices = slices.Clone(p.Devices)
	for i, d := range p.Devices {
		if d.Kind == plan.Veth && !seen[d.PeerNS] {
			hidden[plan.DeviceKey{NS: d.PeerNS, Name: d.PeerName}] = true
			p.Devices[i].PeerNS, p.Devices[i].PeerName, p.Devices[i].PeerMAC = "", "", ""
		}
	}
	return without(p, hidden)
}

// Apply writes the difference between have and want. See reconcile.World.
func (w *fakeWorld) Apply(ctx context.Context, have, want plan.Plan) (int, error) {
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	w.settings.rememberAll(want.Sysctls)
	return apply(ctx, &fakeHand{f: w.fake, owner: w.owner, mine: w.fake.plan(w.owner)}, have, want)
}

// plan returns what an owner has. The caller holds the mutex.
func (f *Fake) plan(o plan.Owner) *plan.Plan {
	if f.owned[o.Name] == nil {
		f.owned[o.Name] = &plan.Plan{}
	}
	return f.owned[o.Name]
}

// find returns the device of which k is an end, and whose it is.
func (f *Fake) find(k plan.DeviceKey) (owner string, d *plan.Device) {
	for _, name := range slices.Sorted(maps.Keys(f.owned)) {
		for i, d := range f.owned[name].Devices {
			if slices.Contains(ends(d), k) {
				return name, &f.owned[name].Devices[i]
			}
		}
	}
	return "", nil
}

// there reports whether a device of that name is in that namespace.
func (f *Fake) there(k plan.DeviceKey) bool {
	s := f.spaces[k.NS]
	if s == nil {
		return false
	}
	_, foreign := s.foreign[k.Name]
	_, d := f.find(k)
	return foreign || d != nil
}

// removeDevice removes a device and what lives on it, whoever's that is.
func (f *Fake) removeDevice(d plan.Device) {
	gone := map[plan.DeviceKey]bool{}
	for _, end := range ends(d) {
		gone[end] = true
		if s := f.spaces[end.NS]; s != nil {
			maps.DeleteFunc(s.sysctls, func(name, _ string) bool {
				return strings.Contains(name, "/"+end.Name+"/")
			})
		}
	}
	for _, p := range f.owned {
		left := p.Shortcuts
		*p = without(*p, gone)
		p.Shortcuts = orphaned(left, gone)
		p.Devices = slices.DeleteFunc(slices.Clone(p.Devices), func(x plan.Device) bool { return x.Key() == d.Key() })
	}
}

// orphaned returns shortcuts after devices went: nothing takes them along.
func orphaned(all []plan.Shortcut, gone map[plan.DeviceKey]bool) []plan.Shortcut {
	out := slices.Clone(all)
	for i := range out {
		if gone[plan.DeviceKey{Name: out[i].Dev}] {
			out[i].Dev = plan.Gone
		}
	}
	return out
}

// Text prints everything that has an owner, owner by owner, for tests that
// compare the kernel before and after.
func (f *Fake) Text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.owned)) {
		if text := f.owned[name].Text(); text != "" {
			fmt.Fprintf(&b, "owner %s\n%s", name, text)
		}
	}
	return b.String()
}
