// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/magpie-edge/magpie/plan"
)

// table returns the table of that key, if it is there.
func (h *fakeHand) table(k plan.TableKey) (plan.Table, bool) {
	i := slices.IndexFunc(h.mine.Tables, func(t plan.Table) bool { return t.Key() == k })
	if i < 0 {
		return plan.Table{}, false
	}
	return h.mine.Tables[i], true
}

// swap replaces a table whole. See hand.
func (h *fakeHand) swap(_ context.Context, t plan.Table, members []plan.Member) (int, error) {
	if err := h.f.Faults.write(plan.Step{Op: plan.Change, Item: t}); err != nil {
		return 0, err
	}
	if !ownsTable(h.owner, t.Name) {
		return 0, fmt.Errorf("table %s: name does not begin with %s", t.Name, tableName(h.owner))
	}
	b, err := parseBody(t)
	if err != nil {
		return 0, err
	}
	for _, m := range members {
		if err := b.accepts(m); err != nil {
			return 0, err
		}
	}
	h.forgetMembers(t.Key())
	put(&h.mine.Tables, plan.Change, t)
	h.mine.Members = append(slices.Clone(h.mine.Members), members...)
	return 1, nil
}

// accepts checks that an element fits its set.
func (b *body) accepts(m plan.Member) error {
	if !slices.Contains(b.sets, m.Set) {
		return fmt.Errorf("set %s: %w", m.Set, syscall.ENOENT)
	}
	k := b.kind(m.Set)
	if m.Value == "" && len(k.value) > 0 {
		return fmt.Errorf("%s: a map's element needs a value", m)
	}
	_, err := k.encode(elem{m.Elem, m.Value})
	return err
}

func (h *fakeHand) forgetMembers(k plan.TableKey) {
	h.mine.Members = slices.DeleteFunc(slices.Clone(h.mine.Members), func(m plan.Member) bool {
		return m.Family == k.Family && m.Table == k.Name
	})
}

// drop removes a table. See hand.
func (h *fakeHand) drop(_ context.Context, t plan.Table) (int, error) {
	if err := h.f.Faults.write(plan.Step{Op: plan.Remove, Item: t}); err != nil {
		return 0, err
	}
	h.forgetMembers(t.Key())
	return put(&h.mine.Tables, plan.Remove, t), nil
}

// members adds, changes and removes elements. See hand.
func (h *fakeHand) members(_ context.Context, k plan.TableKey, steps []plan.Step) (writes int, err error) {
	t, ok := h.table(k)
	var b *body
	if ok {
		if b, err = parseBody(t); err != nil {
			return 0, err
		}
	}
	var errs []error
	for _, s := range steps {
		m, _ := s.Item.(plan.Member)
		err := h.f.Faults.write(s)
		switch {
		case err != nil:
		case s.Op == plan.Remove && !ok:
			continue
		case !ok:
			err = fmt.Errorf("set %s: %w", m.Set, syscall.ENOENT)
		case s.Op != plan.Remove:
			err = b.accepts(m)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
			continue
		}
		writes += put(&h.mine.Members, s.Op, m)
	}
	return writes, errors.Join(errs...)
}
