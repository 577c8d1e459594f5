// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// RepairGap is the least time between two rounds of the agent's "cni" loop.
// Every ADD and DEL wakes the loop: a shorter gap makes ADD slower on a node
// that starts many pods, a longer one breaks the promise of a second.
const RepairGap = 250 * time.Millisecond

// CallsAtOnce is how many calls are worked on at once. The kernel has one routing
// lock, so more of them only take CPUs from each other and from the runtime, and
// the slowest of ten pods that start together takes a third longer.
const CallsAtOnce = 3

// Pods returns the pods that have their network, sorted by key.
func (s *Server) Pods() []Pod { return s.cfg.Ledger.Pods(true) }

// Namespaces returns the network namespaces of the pods, sorted. It is for
// kernel.WithNamespaces.
func (s *Server) Namespaces() []string {
	var out []string
	for _, p := range s.Pods() {
		out = append(out, p.NetNS)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Settings returns the sysctls that this node's pods want. It is for
// kernel.WithSysctls: a setting carries no owner's mark.
func (s *Server) Settings() []plan.SysctlKey {
	view, ok := s.cfg.View()
	if !ok {
		return nil
	}
	var out []plan.SysctlKey
	note := func(settings []plan.Sysctl) {
		for _, x := range settings {
			out = append(out, x.Key())
		}
	}
	note(s.common(view).Sysctls)
	for _, pod := range s.Pods() {
		note(sysctls(pod))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.adopted {
		note(a.plan.Sysctls)
	}
	return out
}

// Desire returns everything of Owner's that this node should have: the plans
// of the live pods and Masquerade. It is the Desire of the agent's "cni" loop.
// Before Recover it returns reconcile.ErrNotReady.
func (s *Server) Desire(view fleet.View) (plan.Plan, error) {
	if !s.recovered.Load() {
		return plan.Plan{}, reconcile.ErrNotReady
	}
	want := join(plan.Plan{}, s.common(view))
	for _, pod := range s.Pods() {
		want = join(want, Plan(pod, view))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, dev := range slices.Sorted(maps.Keys(s.adopted)) {
		want = join(want, s.adopted[dev].plan)
	}
	return want, nil
}

// common is Masquerade. A round asks twice, and the table's text is most of the
// garbage that a round makes: it is made anew only for another view.
func (s *Server) common(view fleet.View) plan.Plan {
	view.ReadAt = time.Time{} // tells nothing of what is wanted
	s.mu.Lock()
	defer s.mu.Unlock()
	if !reflect.DeepEqual(s.shared.view, view) {
		s.shared.view, s.shared.plan = view, Masquerade(view)
	}
	return s.shared.plan
}

// join is plan.Merge for plans of this package, which have nothing in common: it
// looks for no duplicates, so a hundred pods cost a hundred appends. It may write
// behind the end of what a holds.
func join(a, b plan.Plan) plan.Plan {
	a.Sysctls = append(a.Sysctls, b.Sysctls...)
	a.Devices = append(a.Devices, b.Devices...)
	a.Addrs = append(a.Addrs, b.Addrs...)
	a.Neighs = append(a.Neighs, b.Neighs...)
	a.Routes = append(a.Routes, b.Routes...)
	a.Shapes = append(a.Shapes, b.Shapes...)
	a.Tables = append(a.Tables, b.Tables...)
	a.Members = append(a.Members, b.Members...)
	a.Accepts = append(a.Accepts, b.Accepts...)
	a.Programs = append(a.Programs, b.Programs...)
	a.Shortcuts = append(a.Shortcuts, b.Shortcuts...)
	a.Notes = append(a.Notes, b.Notes...)
	return a
}

// World returns the world of the agent's "cni" loop. It keeps the loop and the
// verbs from undoing each other: a round compares what it saw with what it
// wanted a moment ago, and a pod may have come or gone in between.
func (s *Server) World() reconcile.World[plan.Plan] { return guarded{s} }

type guarded struct{ s *Server }

func (g guarded) Observe(ctx context.Context) (plan.Plan, error) { return g.s.observe(ctx) }

// Apply leaves out the pods that a verb worked on since the last round, but for
// the fast path of new ones, and asks for another round in their stead. Most
// rounds that verbs have caused find nothing else to do: those do not make the
// next verb wait.
func (g guarded) Apply(ctx context.Context, have, want plan.Plan) (int, error) {
	s := g.s
	busy := s.settle()
	if len(plan.Diff(have, want)) == 0 {
		return 0, nil
	}
	if len(busy) > 0 {
		s.cfg.Wake()
	}
	rest, old := without(want, busy), without(have, busy)
	if isEmpty(s.fast(want, busy)) && len(plan.Diff(old, rest)) == 0 {
		return 0, nil
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	late := s.settle()
	steps, err := s.cfg.World.Apply(ctx, without(old, late), without(rest, late))
	if busy = append(busy, late...); len(busy) > 0 {
		more, failed := s.cfg.World.Apply(ctx, plan.Plan{}, s.fast(want, busy))
		steps, err = steps+more, errors.Join(err, failed)
		s.cfg.Wake()
	}
	if err != nil {
		s.doubt()
	}
	return steps, err
}

// isEmpty reports whether a fast path has nothing in it.
func isEmpty(p plan.Plan) bool { return len(p.Programs) == 0 && len(p.Shortcuts) == 0 }

// touch notes that a verb has changed the pod. The caller holds the gate.
func (s *Server) touch(pod Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched[pod.Key] = pod
}

// settle returns the pods touched since it was last called.
func (s *Server) settle() []Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	pods := slices.Collect(maps.Values(s.touched))
	clear(s.touched)
	return pods
}

// without returns the plan without anything of the pods.
func without(p plan.Plan, pods []Pod) plan.Plan {
	if len(pods) == 0 {
		return p
	}
	spaces, devices, members := map[string]bool{}, map[string]bool{}, map[plan.MemberKey]bool{}
	for _, pod := range pods {
		if pod.NetNS != "" {
			spaces[pod.NetNS] = true
		}
		devices[pod.HostDevice()], devices[pod.ShapeDevice()] = true, true
		for _, m := range Plan(pod, fleet.View{}).Members {
			members[m.Key()] = true
		}
	}
	of := func(ns, dev string) bool { return spaces[ns] || ns == "" && devices[dev] }
	p.Devices = drop(p.Devices, func(d plan.Device) bool { return of(d.NS, d.Name) })
	p.Addrs = drop(p.Addrs, func(a plan.Addr) bool { return of(a.NS, a.Dev) })
	p.Neighs = drop(p.Neighs, func(n plan.Neigh) bool { return of(n.NS, n.Dev) })
	p.Routes = drop(p.Routes, func(r plan.Route) bool { return of(r.NS, r.Dev) })
	p.Shapes = drop(p.Shapes, func(x plan.Shape) bool { return of(x.NS, x.Dev) })
	p.Members = drop(p.Members, func(m plan.Member) bool { return members[m.Key()] })
	p.Programs = drop(p.Programs, func(x plan.Program) bool { return of("", x.Dev) })
	p.Shortcuts = drop(p.Shortcuts, func(x plan.Shortcut) bool { return of("", x.Dev) })
	p.Sysctls = drop(p.Sysctls, func(x plan.Sysctl) bool { return of(x.NS, sysctlDevice(x.Name)) })
	return p
}

func drop[T any](items []T, which func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(items), which)
}

// sysctlDevice is the device in "net/ipv4/conf/DEVICE/key".
func sysctlDevice(name string) string {
	const device = 3
	if words := strings.Split(name, "/"); len(words) > device {
		return words[device]
	}
	return ""
}
