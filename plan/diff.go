// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
)

// Op says what a Step does to its item.
type Op byte

// The three operations, printed as they are in a diff.
const (
	Add    Op = '+'
	Change Op = '~'
	Remove Op = '-'
)

// Step is one write that brings the kernel nearer to the plan.
type Step struct {
	Op   Op
	Item fmt.Stringer // one of the item types of this package
	Was  fmt.Stringer // the item as it is now; nil unless Op is Change
}

func (s Step) String() string { return string(s.Op) + " " + s.Item.String() }

// item is what Diff needs of an item type. The constraint is what keeps
// slices, maps and pointers out of the items.
type item[K comparable] interface {
	comparable
	Key() K
	String() string
}

// Diff returns the steps from have to want: adds and changes bottom up, then
// removals top down. Within one kind steps are sorted by what they print, so
// equal inputs give equal steps. Notes are not kernel objects and are ignored.
func Diff(have, want Plan) []Step {
	var adds, removes []Step
	add := func(up, down []Step) {
		adds = append(adds, up...)
		removes = append(removes, down...)
	}
	// The order is the order of dependence: a device before its addresses, an
	// address before a route that prefers it, a table before its members.
	add(diff[Device, DeviceKey](have.Devices, want.Devices))
	// A sysctl may be a device's own, so it follows; it is never removed.
	up, _ := diff[Sysctl, SysctlKey](have.Sysctls, want.Sysctls)
	add(up, nil)
	add(diff[Addr, AddrKey](have.Addrs, want.Addrs))
	add(diff[Neigh, NeighKey](have.Neighs, want.Neighs))
	add(diff[FDB, FDBKey](have.FDBs, want.FDBs))
	add(diff[Peer, PeerKey](have.Peers, want.Peers))
	add(diff[Allowed, AllowedKey](have.Allowed, want.Allowed))
	add(diff[Shape, ShapeKey](have.Shapes, want.Shapes))
	add(diff[Table, TableKey](have.Tables, want.Tables))
	add(diff[Member, MemberKey](have.Members, want.Members))
	add(diff[Accept, Accept](have.Accepts, want.Accepts))
	// Routes come last so that a packet is let in only when all else is ready.
	add(diff[Route, RouteKey](have.Routes, want.Routes))
	add(diff[Rule, Rule](have.Rules, want.Rules))
	// The fast path opens when the normal way is ready, and closes before it.
	add(diff[Program, ProgramKey](have.Programs, want.Programs))
	add(diff[Shortcut, ShortcutKey](have.Shortcuts, want.Shortcuts))
	slices.Reverse(removes)
	return append(adds, removes...)
}

// diff compares one kind of item. A key that occurs twice in want is a fault
// of the planner; the last one wins, deterministically, and Validate names it.
func diff[T item[K], K comparable](have, want []T) (adds, removes []Step) {
	old := make(map[K]T, len(have))
	for _, h := range have {
		old[h.Key()] = h
	}
	wanted := make(map[K]T, len(want))
	for _, w := range want {
		wanted[w.Key()] = w
	}
	for k, w := range wanted {
		h, there := old[k]
		switch {
		case !there:
			adds = append(adds, Step{Op: Add, Item: w})
		case !same(h, w):
			adds = append(adds, Step{Op: Change, Item: w, Was: h})
		}
	}
	for k, h := range old {
		if _, keep := wanted[k]; !keep {
			removes = append(removes, Step{Op: Remove, Item: h})
		}
	}
	sortSteps(adds)
	sortSteps(removes)
	return adds, removes
}

func sortSteps(s []Step) {
	slices.SortFunc(s, func(a, b Step) int { return cmp.Compare(a.Item.String(), b.Item.String()) })
}
