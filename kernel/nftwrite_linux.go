// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/magpie-edge/magpie/plan"
)

// chunk is how many elements go into one message: an attribute list holds at
// most 64 KiB.
const chunk = 400

// swap replaces a table whole, in one transaction. See hand.
func (h *realHand) swap(ctx context.Context, t plan.Table, members []plan.Member) (int, error) {
	if !ownsTable(h.owner, t.Name) {
		return 0, fmt.Errorf("table %s: name does not begin with %s", t.Name, tableName(h.owner))
	}
	b, err := parseBody(t)
	if err != nil {
		return 0, err
	}
	n := h.host.nft
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.known, t.Key())
	delete(n.kinds, t.Key())
	err = n.run(ctx, func(tx *knftables.Transaction) { b.transaction(tx, t, members) })
	if err == nil {
		n.known[t.Key()] = knownTable{body: t.Body}
	}
	return wrote(err)
}

// drop removes a table. See hand.
func (h *realHand) drop(ctx context.Context, t plan.Table) (int, error) {
	n := h.host.nft
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.known, t.Key())
	delete(n.kinds, t.Key())
	err := n.run(ctx, func(tx *knftables.Transaction) {
		tx.Delete(&knftables.Table{Family: knftables.Family(t.Family), Name: t.Name})
	})
	if knftables.IsNotFound(err) {
		return 0, nil
	}
	return wrote(err)
}

// run runs one transaction through the nft program, in our namespace. The
// caller holds the mutex.
func (n *nft) run(ctx context.Context, fill func(*knftables.Transaction)) error {
	return inNS(n.home, func() error {
		if n.program == nil {
			p, err := knftables.New("", "")
			if err != nil {
				return err
			}
			n.program = p
		}
		tx := n.program.NewTransaction()
		fill(tx)
		return n.program.Run(ctx, tx)
	})
}

// members adds, changes and removes elements, as many as possible in one
// transaction. When that is refused, each is tried alone, so that one bad
// element does not keep out the others. See hand.
func (h *realHand) members(_ context.Context, t plan.TableKey, steps []plan.Step) (writes int, err error) {
	n := h.host.nft
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writeElements(t, steps); err == nil {
		return len(steps), nil
	}
	var errs []error
	for _, s := range steps {
		err := n.writeElements(t, []plan.Step{s})
		switch {
		case err == nil:
			writes++
		case s.Op == plan.Remove && errors.Is(err, unix.ENOENT):
		case s.Op == plan.Add && isThere(err):
			// There with another value, for otherwise it were no error.
			if err := n.writeElements(t, []plan.Step{{Op: plan.Change, Item: s.Item, Was: s.Item}}); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s, err))
				continue
			}
			writes++
		default:
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
		}
	}
	return writes, errors.Join(errs...)
}

// writeElements does the steps in one transaction.
func (n *nft) writeElements(t plan.TableKey, steps []plan.Step) error {
	kinds, err := n.kindsOf(t)
	if err != nil {
		return err
	}
	type batch struct{ del, add []nftables.SetElement }
	sets := map[string]*batch{}
	for _, s := range steps {
		m, ok := s.Item.(plan.Member)
		if !ok {
			return fmt.Errorf("item %T: not a member", s.Item)
		}
		k, ok := kinds[m.Set]
		if !ok {
			delete(n.kinds, t) // somebody may have made it since
			return fmt.Errorf("set %s: %w", m.Set, unix.ENOENT)
		}
		elems, err := k.elements(m)
		if err != nil {
			return err
		}
		b := sets[m.Set]
		if b == nil {
			b = &batch{}
			sets[m.Set] = b
		}
		if s.Op != plan.Add {
			b.del = append(b.del, elems...)
		}
		if s.Op != plan.Remove {
			b.add = append(b.add, elems...)
		}
	}
	for name, b := range sets {
		set := &nftables.Set{
			Table: &nftables.Table{Name: t.Name, Family: nftables.TableFamily(families()[t.Family])},
			Name:  name, IsMap: len(kinds[name].value) > 0, Interval: kinds[name].interval,
		}
		for part := range slices.Chunk(b.del, chunk) {
			if err := n.elements.SetDeleteElements(set, part); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(b.add, chunk) {
			if err := n.elements.SetAddElements(set, part); err != nil {
				return err
			}
		}
	}
	return n.elements.Flush()
}

// kindsOf returns the types of a table's sets.
func (n *nft) kindsOf(t plan.TableKey) (map[string]kind, error) {
	if k := n.kinds[t]; k != nil {
		return k, nil
	}
	if _, err := n.readTable(t); err != nil {
		return nil, err
	}
	return n.kinds[t], nil
}

// elements is a member as the kernel wants it: a range of a plain interval set
// is two elements, its start and the first value outside.
func (k kind) elements(m plan.Member) ([]nftables.SetElement, error) {
	s, err := k.encode(elem{m.Elem, m.Value})
	if err != nil {
		return nil, err
	}
	e := nftables.SetElement{Key: s.lo, Val: s.value}
	if !k.interval {
		return []nftables.SetElement{e}, nil
	}
	if s.hi == nil {
		s.hi = s.lo
	}
	if len(k.key) > 1 {
		e.KeyEnd = s.hi
		return []nftables.SetElement{e}, nil
	}
	return []nftables.SetElement{e, {Key: after(s.hi), IntervalEnd: true}}, nil
}
