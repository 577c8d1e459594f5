// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/plan"
)

// apply performs steps on a plan held as a map from "kind key" to line: the
// simplest world there can be.
func apply(have map[string]string, steps []plan.Step) map[string]string {
	out := map[string]string{}
	maps.Copy(out, have)
	for _, s := range steps {
		k := key(s.Item)
		if s.Op == plan.Remove {
			delete(out, k)
			continue
		}
		out[k] = s.Item.String()
	}
	return out
}

func key(it fmt.Stringer) string {
	switch it := it.(type) {
	case plan.Device:
		return fmt.Sprint("device ", it.Key())
	case plan.Route:
		return fmt.Sprint("route ", it.Key())
	case plan.Neigh:
		return fmt.Sprint("neigh ", it.Key())
	case plan.FDB:
		return fmt.Sprint("fdb ", it.Key())
	case plan.Allowed:
		return fmt.Sprint("allowed ", it.Key())
	case plan.Member:
		return fmt.Sprint("member ", it.Key())
	}
	panic(fmt.Sprintf("no key for %T", it))
}

func world(p plan.Plan) map[string]string { return apply(nil, plan.Diff(plan.Plan{}, p)) }

// random makes a plan out of few names, so that two of them have keys in common.
func random(r *rand.Rand) plan.Plan {
	var p plan.Plan
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 42, byte(r.IntN(n)), 0}) }
	for range r.IntN(6) {
		dst := netip.PrefixFrom(addr(4), 24)
		p.Devices = append(p.Devices, plan.Device{Name: fmt.Sprint("mag", r.IntN(3)), Kind: plan.VXLAN, MTU: 1400 + r.IntN(2)})
		p.Routes = append(p.Routes, plan.Route{Dst: dst, Via: addr(2), Dev: "mag0", OnLink: true})
		p.Neighs = append(p.Neighs, plan.Neigh{Dev: "mag0", IP: addr(4), MAC: fmt.Sprint("02:", r.IntN(2))})
		p.FDBs = append(p.FDBs, plan.FDB{Dev: "mag0", MAC: fmt.Sprint("02:", r.IntN(4)), Dst: addr(2)})
		p.Allowed = append(p.Allowed, plan.Allowed{Dev: "mag-wg0", Prefix: dst, Peer: fmt.Sprint(r.IntN(2))})
		p.Members = append(p.Members, plan.Member{Table: "t", Set: "s", Elem: fmt.Sprint(r.IntN(4)), Value: fmt.Sprint(r.IntN(2))})
	}
	return p
}

func TestDiffTurnsHaveIntoWant(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		have, want := random(r), random(r)
		got := apply(world(have), plan.Diff(have, want))
		if d := cmp.Diff(world(want), got); d != "" {
			t.Fatalf("after Diff (-want +got):\n%s", d)
		}
		if steps := plan.Diff(want, want); len(steps) != 0 {
			t.Fatalf("Diff of equal plans: %v", steps)
		}
	}
}

func TestDiffIsTheSameWhateverTheOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		have, want := random(r), random(r)
		// The last of two items with one key wins, so only distinct ones are shuffled.
		want.Routes = plan.Merge(want).Routes
		first := fmt.Sprint(plan.Diff(have, want))
		slices.Reverse(have.Devices)
		slices.Reverse(have.Members)
		if len(world(have)) != len(have.Devices)+len(have.Routes)+len(have.Neighs)+len(have.FDBs)+len(have.Allowed)+len(have.Members) {
			continue // a key occurs twice
		}
		if second := fmt.Sprint(plan.Diff(have, want)); first != second {
			t.Fatalf("order of the input shows:\n%s\n%s", first, second)
		}
	}
}

func TestDiffAddsBottomUpAndRemovesTopDown(t *testing.T) {
	p := plan.Plan{
		Devices: []plan.Device{{Name: "mag0", Kind: plan.VXLAN}},
		Addrs:   []plan.Addr{{Dev: "mag0", Prefix: netip.MustParsePrefix("10.42.0.0/32")}},
		Routes:  []plan.Route{{Dst: netip.MustParsePrefix("10.42.1.0/24"), Dev: "mag0"}},
	}
	up := fmt.Sprint(plan.Diff(plan.Plan{}, p))
	down := fmt.Sprint(plan.Diff(p, plan.Plan{}))
	if want := "[+ device mag0 vxlan + addr 10.42.0.0/32 dev mag0 + route 10.42.1.0/24 dev mag0]"; up != want {
		t.Errorf("adds: %s", up)
	}
	if want := "[- route 10.42.1.0/24 dev mag0 - addr 10.42.0.0/32 dev mag0 - device mag0 vxlan]"; down != want {
		t.Errorf("removes: %s", down)
	}
}

func TestDiffAddsBeforeItRemoves(t *testing.T) {
	have := plan.Plan{Routes: []plan.Route{{Dst: netip.MustParsePrefix("10.42.1.0/24"), Dev: "old"}}}
	want := plan.Plan{Routes: []plan.Route{{Dst: netip.MustParsePrefix("10.42.2.0/24"), Dev: "new"}}}
	steps := plan.Diff(have, want)
	if len(steps) != 2 || steps[0].Op != plan.Add || steps[1].Op != plan.Remove {
		t.Fatalf("not make before break: %v", steps)
	}
}

func TestSysctlsAreNeverPutBack(t *testing.T) {
	have := plan.Plan{Sysctls: []plan.Sysctl{{Name: "net/ipv4/ip_forward", Value: "1"}}}
	if steps := plan.Diff(have, plan.Plan{}); len(steps) != 0 {
		t.Fatalf("clean-up changes settings that others may rely on: %v", steps)
	}
}

func TestAllowedMovesInOneStep(t *testing.T) {
	at := func(peer string) plan.Plan {
		return plan.Plan{Allowed: []plan.Allowed{{Dev: "mag-wg0", Prefix: netip.MustParsePrefix("10.42.1.0/24"), Peer: peer}}}
	}
	steps := plan.Diff(at("one"), at("two"))
	if len(steps) != 1 || steps[0].Op != plan.Change {
		t.Fatalf("a prefix that moves between peers takes %v", steps)
	}
}

func TestMainTableHasOneKey(t *testing.T) {
	r := plan.Route{Dst: netip.MustParsePrefix("10.42.1.0/24"), Dev: "mag0"}
	named := r
	named.Table = 254
	if r.Key() != named.Key() || r.String() != named.String() {
		t.Errorf("%v and %v are one route of the main table", r, named)
	}
}

func TestMergeKeepsEqualItemsOnce(t *testing.T) {
	one := plan.Plan{Sysctls: []plan.Sysctl{{Name: "net/ipv4/ip_forward", Value: "1"}}}
	if got := plan.Merge(one, one, plan.Plan{}); len(got.Sysctls) != 1 {
		t.Errorf("merged: %v", got.Sysctls)
	}
}
