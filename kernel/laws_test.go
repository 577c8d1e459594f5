// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
)

// lawOwner may hold every kind that needs no process of its own.
var lawOwner = plan.Owner{Name: "law", Proto: 222}

// universe is everything that a random plan chooses from. Items are listed
// after those they need.
func universe(spaces []string) plan.Plan {
	var p plan.Plan
	for i, ns := range spaces {
		p = plan.Merge(p, pod(ns, i+1))
	}
	p.Sysctls = nil // never removed, so they cannot take part in removal laws
	p = plan.Merge(p, overlay())
	for i := range 6 {
		via := netip.AddrFrom4([4]byte{10, 42, byte(10 + i), 0})
		mac := fmt.Sprintf("02:00:00:00:03:%02x", i)
		p.Neighs = append(p.Neighs, plan.Neigh{Dev: "mag-vxlan", IP: via, MAC: mac})
		p.FDBs = append(p.FDBs, plan.FDB{Dev: "mag-vxlan", MAC: mac, Dst: netip.AddrFrom4([4]byte{192, 168, 1, byte(100 + i)})})
		p.Routes = append(p.Routes, plan.Route{Dst: netip.PrefixFrom(via, 24), Via: via, Dev: "mag-vxlan", OnLink: true})
		p.Rules = append(p.Rules, plan.Rule{V6: i%2 == 1, Priority: 2500 + i, Mark: uint32(i), Mask: 0xff, Table: 2470})
		p.Members = append(p.Members, plan.Member{Family: "ip", Table: "magpie-law", Set: "hosts", Elem: via.String()})
	}
	p.Devices = append(p.Devices, plan.Device{Name: "magi1", Kind: plan.IFB, MTU: 1500})
	p.Shapes = append(p.Shapes, plan.Shape{Dev: "magi1", Rate: 8_000_000, Burst: 800_000}, plan.Shape{Dev: "magp1", Redirect: "magi1"})
	p.Tables = append(p.Tables, plan.Table{
		Family: "ip", Name: "magpie-law",
		Body: "add set hosts { type ipv4_addr ; }\nadd chain c\nadd rule c ip saddr @hosts accept\n",
	})
	p.Accepts = append(p.Accepts, plan.Accept{Chain: "FORWARD", Match: "-s 10.42.0.0/16"}, plan.Accept{V6: true, Chain: "FORWARD", Match: "-s fd42::/48"})
	return p
}

// some keeps a random part of a plan in which everything has what it needs.
func some(r *rand.Rand, p plan.Plan) plan.Plan {
	p.Devices = pick(r, p.Devices, func(plan.Device) bool { return true })
	devs := map[plan.DeviceKey]bool{}
	for i, d := range p.Devices {
		devs[d.Key()] = true
		devs[plan.DeviceKey{NS: d.PeerNS, Name: d.PeerName}] = true
		if r.IntN(3) == 0 {
			p.Devices[i].MTU = 1300 + r.IntN(100)
		}
		if r.IntN(3) == 0 && d.Kind == plan.VXLAN {
			p.Devices[i].VNI = 1 + r.IntN(3)
		}
		if r.IntN(4) == 0 && d.MAC != "" {
			p.Devices[i].MAC = d.MAC[:15] + fmt.Sprintf("%02x", 0x80+r.IntN(4))
		}
	}
	on := func(ns, dev string) bool { return devs[plan.DeviceKey{NS: ns, Name: dev}] }
	p.Addrs = pick(r, p.Addrs, func(a plan.Addr) bool { return on(a.NS, a.Dev) })
	p.Neighs = pick(r, p.Neighs, func(n plan.Neigh) bool { return on(n.NS, n.Dev) })
	p.FDBs = pick(r, p.FDBs, func(f plan.FDB) bool { return on("", f.Dev) })
	p.Shapes = pick(r, p.Shapes, func(s plan.Shape) bool {
		return on(s.NS, s.Dev) && (s.Redirect == "" || on(s.NS, s.Redirect))
	})
	p.Rules = pick(r, p.Rules, func(plan.Rule) bool { return true })
	p.Accepts = pick(r, p.Accepts, func(plan.Accept) bool { return true })
	p.Tables = pick(r, p.Tables, func(plan.Table) bool { return true })
	p.Members = pick(r, p.Members, func(plan.Member) bool { return len(p.Tables) > 0 })
	p.Routes = pick(r, p.Routes, func(x plan.Route) bool { return on(x.NS, x.Dev) })
	for i := range p.Routes {
		x := &p.Routes[i]
		if x.Src.IsValid() && !slices.ContainsFunc(p.Addrs, func(a plan.Addr) bool { return a.Prefix.Addr() == x.Src }) {
			x.Src = netip.Addr{}
		}
		if r.IntN(4) == 0 {
			x.MTU = 1280 + r.IntN(50)
		}
		x.OnLink = x.Via.Is4()
	}
	return p
}

func pick[T any](r *rand.Rand, items []T, may func(T) bool) []T {
	var out []T
	for _, i := range items {
		if may(i) && r.IntN(3) > 0 {
			out = append(out, i)
		}
	}
	return out
}

// lawPlace opens a place with an underlay and two pods' namespaces.
func lawPlace(tb testing.TB, open func(testing.TB) place) (reconcile.World[plan.Plan], plan.Plan, place) {
	tb.Helper()
	p := open(tb)
	p.addDevice("eth0", netip.MustParsePrefix("192.168.1.11/24"))
	spaces := []string{p.addNS("pod1"), p.addNS("pod2")}
	w := p.own(lawOwner, kernel.WithNamespaces(func() []string { return spaces }))
	return w, universe(spaces), p
}

// TestKernelLaws walks through random plans: what was applied is observed,
// applying it again writes nothing, and the zero plan leaves nothing.
func TestKernelLaws(t *testing.T) {
	for name, open := range places() {
		t.Run(name, func(t *testing.T) {
			w, all, _ := lawPlace(t, open)
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			rounds := map[string]int{"fake": 200, "real": 12}[name]
			for range rounds {
				want := some(r, all)
				converge(t, w, want)
				settled(t, w, want)
			}
			converge(t, w, plan.Plan{})
			settled(t, w, plan.Plan{})
		})
	}
}

// countdown is a context that ends after so many looks at it.
type countdown struct {
	context.Context //nolint:containedctx // it is a context

	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestKernelInterrupted stops Apply after any number of steps; the next round
// brings the rest.
func TestKernelInterrupted(t *testing.T) {
	for name, open := range places() {
		t.Run(name, func(t *testing.T) {
			w, all, _ := lawPlace(t, open)
			r := rand.New(rand.NewPCG(7, 7))
			for range map[string]int{"fake": 100, "real": 8}[name] {
				have, err := w.Observe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want := some(r, all)
				if steps := len(plan.Diff(have, want)); steps > 0 {
					ctx := &countdown{t.Context(), r.IntN(2 * steps)}
					w.Apply(ctx, have, want) //nolint:errcheck // it was interrupted
				}
				converge(t, w, want)
				settled(t, w, want)
			}
		})
	}
}

// items are the single things of a plan, each a plan of its own.
func items(p plan.Plan) map[string]plan.Plan {
	out := map[string]plan.Plan{}
	for _, s := range plan.Diff(plan.Plan{}, p) {
		var one plan.Plan
		switch i := s.Item.(type) {
		case plan.Device:
			one.Devices = []plan.Device{i}
		case plan.Addr:
			one.Addrs = []plan.Addr{i}
		case plan.Neigh:
			one.Neighs = []plan.Neigh{i}
		case plan.FDB:
			one.FDBs = []plan.FDB{i}
		case plan.Route:
			one.Routes = []plan.Route{i}
		case plan.Rule:
			one.Rules = []plan.Rule{i}
		case plan.Shape:
			one.Shapes = []plan.Shape{i}
		case plan.Table:
			one.Tables = []plan.Table{i}
		case plan.Member:
			one.Members = []plan.Member{i}
		case plan.Accept:
			one.Accepts = []plan.Accept{i}
		}
		out[i2s(s)] = one
	}
	return out
}

func i2s(s plan.Step) string { return s.Item.String() }

// TestKernelRepair removes every single thing, one after the other, behind the
// owner's back; one round brings it back with all that went along.
func TestKernelRepair(t *testing.T) {
	for name, open := range places() {
		t.Run(name, func(t *testing.T) {
			w, want, p := lawPlace(t, open)
			converge(t, w, want)
			settled(t, w, want)
			vandal := p.own(lawOwner)
			for what, one := range items(want) {
				if _, err := vandal.Apply(t.Context(), one, plan.Plan{}); err != nil {
					t.Fatalf("remove %s: %v", what, err)
				}
				if n := converge(t, w, want); n == 0 {
					t.Errorf("%s: not missed", what)
				}
				settled(t, w, want)
			}
		})
	}
}

// TestFaults lets writes and dumps of the fake fail at random; once they stop
// failing, one round is enough.
func TestFaults(t *testing.T) {
	faults := []kernel.Fault{kernel.Exists, kernel.NoDevice, kernel.NetworkDown, kernel.NoBuffers}
	for _, fault := range append(faults, "at random") {
		t.Run(string(fault), func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 3))
			f := kernel.NewFake()
			w, all, _ := lawPlace(t, func(testing.TB) place { return fakePlace{f} })
			for range 50 {
				want := some(r, all)
				f.Faults.OnWrite(func(int, plan.Step) kernel.Fault {
					switch {
					case r.IntN(4) > 0:
						return ""
					case fault == "at random":
						return faults[r.IntN(len(faults))]
					default:
						return fault
					}
				})
				before := f.Faults.Injected()
				have, err := w.Observe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_, err = w.Apply(t.Context(), have, want)
				if f.Faults.Injected() > before && err == nil {
					// An add that failed may have been tried again after a removal.
					settled(t, w, want)
				}
				f.Faults.OnWrite(nil)
				converge(t, w, want)
				settled(t, w, want)
			}
			if f.Faults.Injected() == 0 {
				t.Error("no fault happened")
			}
		})
	}
}

// TestInterruptedDumpIsNotDiffed: a round whose dump is partial fails and
// writes nothing.
func TestInterruptedDumpIsNotDiffed(t *testing.T) {
	f := kernel.NewFake()
	f.Faults.OnObserve(func(call int) kernel.Fault {
		if call == 0 {
			return kernel.DumpInterrupted
		}
		return ""
	})
	w := f.Own(lawOwner)
	if p, err := w.Observe(t.Context()); err == nil || p.Text() != "" {
		t.Errorf("a partial dump was handed out: %v %q", err, p.Text())
	}
	if _, err := w.Observe(t.Context()); err != nil {
		t.Error(err)
	}
}
