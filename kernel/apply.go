// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/magpie-edge/magpie/plan"
)

// hand makes single writes. The real kernel and the fake have one each; what
// is written, and in which order, is decided here, once.
type hand interface {
	// device adds or changes a device. fresh says that whatever hung on a
	// device of that name before is gone, or that some of it may be.
	device(ctx context.Context, s plan.Step) (fresh bool, writes int, err error)
	// write does any other step, except those of tables and members.
	write(ctx context.Context, s plan.Step) (writes int, err error)
	// swap replaces a table whole, with the members that belong in it.
	swap(ctx context.Context, t plan.Table, members []plan.Member) (writes int, err error)
	// drop removes a table.
	drop(ctx context.Context, t plan.Table) (writes int, err error)
	// members adds, changes and removes elements of one table.
	members(ctx context.Context, t plan.TableKey, steps []plan.Step) (writes int, err error)
}

// application is one run of apply.
type application struct {
	hand   hand
	want   plan.Plan
	writes int
	failed []failure
	// broken are ends of devices that could not be made: what needs them is
	// not tried, so that one cause gives one error.
	broken map[plan.DeviceKey]bool
	fresh  map[plan.DeviceKey]bool
	// swapped are tables written whole, and thereby their members.
	swapped map[plan.TableKey]bool
}

type failure struct {
	step plan.Step
	err  error // nil: not tried, or told with another step
	// many says that err is about several steps and names them.
	many bool
}

// apply turns have into want: devices first, because a device made anew has
// lost everything that have says about it; then all other adds and changes;
// then removals. Adds that failed are tried once more when something was
// removed, because that may have been in their way.
func apply(ctx context.Context, h hand, have, want plan.Plan) (int, error) {
	a := &application{hand: h, want: want}
	a.reset()
	steps := plan.Diff(have, want)
	a.devices(ctx, steps)
	if len(a.fresh) > 0 {
		// Write all that is wanted on a fresh device; still remove what is not,
		// because a device that was only changed has kept some of it.
		again := plan.Diff(without(have, a.fresh), want)
		steps = append(only(again, false), only(steps, true)...)
	}
	a.changes(ctx, steps)
	adds := a.failed
	a.failed = nil
	if a.removals(ctx, steps) > 0 && len(adds) > 0 {
		again := make([]plan.Step, 0, len(adds))
		for _, f := range adds {
			again = append(again, f.step)
		}
		adds = nil
		a.reset()
		a.devices(ctx, again)
		a.changes(ctx, again)
	}
	a.restore(ctx, steps)
	errs := []error{ctx.Err()}
	for _, f := range append(adds, a.failed...) {
		switch {
		case f.err == nil:
		case f.many:
			errs = append(errs, f.err)
		default:
			errs = append(errs, fmt.Errorf("%s: %w", f.step, f.err))
		}
	}
	return a.writes, errors.Join(errs...)
}

// only keeps the removals, or all but them.
func only(steps []plan.Step, removals bool) []plan.Step {
	return slices.DeleteFunc(slices.Clone(steps), func(s plan.Step) bool { return (s.Op == plan.Remove) != removals })
}

func (a *application) reset() {
	a.broken = map[plan.DeviceKey]bool{}
	a.fresh = map[plan.DeviceKey]bool{}
	a.swapped = map[plan.TableKey]bool{}
}

// note counts the writes of a step and keeps its failure.
func (a *application) note(s plan.Step, writes int, err error) {
	a.writes += writes
	if err != nil {
		a.failed = append(a.failed, failure{step: s, err: err})
	}
}

// devices does the adds and changes of devices.
func (a *application) devices(ctx context.Context, steps []plan.Step) {
	for _, s := range steps {
		d, ok := s.Item.(plan.Device)
		if !ok || s.Op == plan.Remove || ctx.Err() != nil {
			continue
		}
		fresh, writes, err := a.hand.device(ctx, s)
		a.note(s, writes, err)
		for _, end := range ends(d) {
			if fresh {
				a.fresh[end] = true
			}
			if err != nil {
				a.broken[end] = true
			}
		}
	}
}

// changes does all other adds and changes. Members are written table by table,
// in as few messages as the door can. A route through another host comes after
// the route to that host.
func (a *application) changes(ctx context.Context, steps []plan.Step) {
	steps = slices.Clone(steps)
	slices.SortStableFunc(steps, func(x, y plan.Step) int { return hops(x) - hops(y) })
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		if s.Op == plan.Remove || ctx.Err() != nil {
			continue
		}
		switch item := s.Item.(type) {
		case plan.Device:
		case plan.Table:
			writes, err := a.hand.swap(ctx, item, membersOf(a.want, item.Key()))
			a.note(s, writes, err)
			a.swapped[item.Key()] = true
		case plan.Member:
			n := run(steps[i:])
			a.members(ctx, steps[i:i+n])
			i += n - 1
		default:
			if on, ok := deviceOf(s.Item); ok && a.broken[on] {
				a.failed = append(a.failed, failure{step: s})
				continue
			}
			writes, err := a.hand.write(ctx, s)
			a.note(s, writes, err)
		}
	}
}

// hops is 1 for a route through another host and 0 for all else.
func hops(s plan.Step) int {
	if r, ok := s.Item.(plan.Route); ok && r.Via.IsValid() {
		return 1
	}
	return 0
}

// members writes steps that all belong to one table and are all adds and
// changes, or all removals.
func (a *application) members(ctx context.Context, steps []plan.Step) {
	m, _ := steps[0].Item.(plan.Member)
	table := plan.TableKey{Family: m.Family, Name: m.Table}
	if a.swapped[table] {
		return // the swap has written them, or has failed and said so
	}
	writes, err := a.hand.members(ctx, table, steps)
	a.writes += writes
	if err == nil {
		return
	}
	a.failed = append(a.failed, failure{step: steps[0], err: err, many: true})
	for _, s := range steps[1:] {
		a.failed = append(a.failed, failure{step: s})
	}
}

// removals does the removals and returns how many there were. What lives on a
// device or peer or in a table that is removed goes with it, without a write
// of its own.
func (a *application) removals(ctx context.Context, steps []plan.Step) (done int) {
	gone := going(steps)
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		if s.Op != plan.Remove || gone.takes(s.Item) || ctx.Err() != nil {
			continue
		}
		done++
		switch item := s.Item.(type) {
		case plan.Table:
			writes, err := a.hand.drop(ctx, item)
			a.note(s, writes, err)
		case plan.Member:
			n := run(steps[i:])
			a.members(ctx, steps[i:i+n])
			i += n - 1
		default:
			writes, err := a.hand.write(ctx, s)
			a.note(s, writes, err)
		}
	}
	return done
}

// restore writes again what went with a removed address though it is wanted:
// the kernel drops IPv4 routes that prefer it as their source and, with the
// last IPv4 address of a device, all IPv4 routes and neighbours there. Routes
// that are still there cost no write.
func (a *application) restore(ctx context.Context, steps []plan.Step) {
	bare := map[plan.DeviceKey]bool{} // devices without an IPv4 address
	sources := map[netip.Addr]bool{}
	for _, s := range steps {
		if addr, ok := s.Item.(plan.Addr); ok && s.Op == plan.Remove {
			sources[addr.Prefix.Addr()] = true
			bare[plan.DeviceKey{NS: addr.NS, Name: addr.Dev}] = true
		}
	}
	for _, addr := range a.want.Addrs {
		if addr.Prefix.Addr().Is4() {
			delete(bare, plan.DeviceKey{NS: addr.NS, Name: addr.Dev})
		}
	}
	var again []plan.Step
	for _, n := range a.want.Neighs {
		if n.IP.Is4() && bare[plan.DeviceKey{NS: n.NS, Name: n.Dev}] {
			again = append(again, plan.Step{Op: plan.Add, Item: n})
		}
	}
	for _, r := range a.want.Routes {
		if sources[r.Src] || (r.Dst.Addr().Is4() && bare[plan.DeviceKey{NS: r.NS, Name: r.Dev}]) {
			again = append(again, plan.Step{Op: plan.Add, Item: r})
		}
	}
	a.changes(ctx, again)
}

// run returns how many steps from the first belong to the same table and are
// of the same direction.
func run(steps []plan.Step) int {
	first, _ := steps[0].Item.(plan.Member)
	n := 1
	for ; n < len(steps); n++ {
		m, ok := steps[n].Item.(plan.Member)
		if !ok || m.Family != first.Family || m.Table != first.Table ||
			(steps[n].Op == plan.Remove) != (steps[0].Op == plan.Remove) {
			break
		}
	}
	return n
}

func membersOf(p plan.Plan, k plan.TableKey) []plan.Member {
	var out []plan.Member
	for _, m := range p.Members {
		if m.Family == k.Family && m.Table == k.Name {
			out = append(out, m)
		}
	}
	return out
}
