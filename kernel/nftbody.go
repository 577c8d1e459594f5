// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/magpie-edge/magpie/plan"
)

// fixedMark is the comment of elements that a table's body lists. An element
// without it is a member, which may change without the table being swapped.
const fixedMark = "fixed"

// sealPrefix begins the name of the empty chain in which a table keeps what it
// should be: "seal-" + digest of the body + "-" + sum of the outline. A chain
// and not the table's comment, because kernels before 5.10 drop the latter.
const sealPrefix = "seal-"

// ruleComment finds the comment of a rule, which must be its last words.
var ruleComment = regexp.MustCompile(`^(.*?) comment "([^"]*)"$`) //nolint:gochecknoglobals // a constant

// body is a table's text taken apart.
type body struct {
	fake  *knftables.FakeTable
	rules map[string][]*knftables.Rule // by chain, marked
	sets  []string                     // sets and maps
	elems map[string][]elem            // fixed ones, by set or map
}

// elem is one element as text.
type elem struct{ key, value string }

// parseBody takes a table apart and checks, as the kernel would, that what it
// refers to is there.
func parseBody(t plan.Table) (*body, error) {
	fake := knftables.NewFake(knftables.Family(t.Family), t.Name)
	b := &body{rules: map[string][]*knftables.Rule{}, elems: map[string][]elem{}}
	objects := []string{fmt.Sprintf("add table %s %s", t.Family, t.Name)}
	tx := fake.NewTransaction()
	for line := range strings.Lines(t.Body) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		words := strings.SplitN(line, " ", 4)
		if len(words) < 3 || words[0] != "add" {
			return nil, fmt.Errorf("table line %q: want add OBJECT NAME …", line)
		}
		object, name, rest := words[1], words[2], ""
		if len(words) == 4 {
			rest = words[3]
		}
		switch object {
		case "rule":
			rule := b.addRule(name, rest)
			tx.Add(rule)
		case "element":
			if err := b.addElements(name, rest); err != nil {
				return nil, err
			}
		default:
			objects = append(objects, strings.TrimSpace(fmt.Sprintf("add %s %s %s %s %s", object, t.Family, t.Name, name, rest)))
		}
	}
	if err := fake.ParseDump(strings.Join(objects, "\n")); err != nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, err)
	}
	if err := fake.Run(context.Background(), tx); err != nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, err)
	}
	b.fake = fake.Table
	b.sets = append(slices.Collect(maps.Keys(fake.Table.Sets)), slices.Collect(maps.Keys(fake.Table.Maps))...)
	slices.Sort(b.sets)
	for set := range b.elems {
		if !slices.Contains(b.sets, set) {
			return nil, fmt.Errorf("table %s: elements of %q: no such set", t.Name, set)
		}
	}
	return b, nil
}

// addRule marks a rule with a sum of its text and place, so that it can be
// told from any other when it is read back.
func (b *body) addRule(chain, text string) *knftables.Rule {
	mark := sum(chain, fmt.Sprint(len(b.rules[chain])), text)[:8]
	if m := ruleComment.FindStringSubmatch(text); m != nil {
		text, mark = m[1], m[2]+" "+mark
	}
	r := &knftables.Rule{Chain: chain, Rule: text, Comment: &mark}
	b.rules[chain] = append(b.rules[chain], r)
	return r
}

// addElements reads "{ a, b : c }".
func (b *body) addElements(set, text string) error {
	inner, open := strings.CutPrefix(strings.TrimSpace(text), "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !open || !closed {
		return fmt.Errorf("elements of %s: %q: want { … }", set, text)
	}
	for part := range strings.SplitSeq(inner, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), " : ")
		b.elems[set] = append(b.elems[set], elem{strings.TrimSpace(key), strings.TrimSpace(value)})
	}
	return nil
}

// outline says what must be found in the kernel, in a form that can be made
// from the kernel's own answers, too.
type outline struct {
	chains []string
	sets   []string
	rules  []string // "CHAIN COMMENT", in order within a chain
	fixed  []string // "SET ELEMENT", canonical
}

// sum is over everything, whatever the order of chains and sets.
func (o outline) sum() string {
	slices.Sort(o.chains)
	slices.Sort(o.sets)
	slices.SortStableFunc(o.rules, func(a, b string) int {
		x, _, _ := strings.Cut(a, " ")
		y, _, _ := strings.Cut(b, " ")
		return strings.Compare(x, y)
	})
	slices.Sort(o.fixed)
	return sum(strings.Join(o.chains, "\n"), strings.Join(o.sets, "\n"), strings.Join(o.rules, "\n"), strings.Join(o.fixed, "\n"))[:12]
}

// outline is what the body makes in the kernel, less the seal.
func (b *body) outline() outline {
	o := outline{chains: slices.Collect(maps.Keys(b.fake.Chains)), sets: slices.Clone(b.sets)}
	for _, chain := range slices.Sorted(maps.Keys(b.rules)) {
		for _, r := range b.rules[chain] {
			o.rules = append(o.rules, chain+" "+*r.Comment)
		}
	}
	for set, elems := range b.elems {
		o.fixed = append(o.fixed, b.canonical(set, elems)...)
	}
	return o
}

// canonical brings elements into the form in which they are read back. Those
// of a type that this package cannot read count as present, and no more.
func (b *body) canonical(set string, elems []elem) []string {
	k := b.kind(set)
	var ranges []span
	var out []string
	for _, e := range elems {
		s, err := k.encode(e)
		if err != nil {
			return []string{set + " ?"}
		}
		ranges = append(ranges, s)
	}
	for _, s := range k.join(ranges) {
		out = append(out, set+" "+s.String())
	}
	return out
}

// kind is the type of a set or map of the body.
func (b *body) kind(set string) kind {
	if s := b.fake.Sets[set]; s != nil {
		return newKind(s.Type, "", slices.Contains(s.Flags, knftables.IntervalFlag))
	}
	m := b.fake.Maps[set]
	key, value, _ := strings.Cut(m.Type, " : ")
	return newKind(key, value, slices.Contains(m.Flags, knftables.IntervalFlag))
}

// seal is the name of the chain that says what the table should be.
func (b *body) seal(t plan.Table) string {
	return sealPrefix + strings.TrimPrefix(t.Digest(), "sha256:") + "-" + b.outline().sum()
}

// transaction renders the whole table, with members, as one swap.
func (b *body) transaction(tx *knftables.Transaction, t plan.Table, members []plan.Member) {
	family, name := knftables.Family(t.Family), t.Name
	table := &knftables.Table{Family: family, Name: name}
	tx.Add(table)
	tx.Delete(table)
	tx.Add(table)
	for _, c := range slices.Sorted(maps.Keys(b.fake.Chains)) {
		chain := b.fake.Chains[c].Chain
		chain.Family, chain.Table, chain.Handle = family, name, nil
		tx.Add(&chain)
	}
	tx.Add(&knftables.Chain{Family: family, Table: name, Name: b.seal(t)})
	for _, c := range slices.Sorted(maps.Keys(b.fake.Counters)) {
		counter := b.fake.Counters[c].Counter
		counter.Family, counter.Table, counter.Handle = family, name, nil
		tx.Add(&counter)
	}
	for _, s := range slices.Sorted(maps.Keys(b.fake.Sets)) {
		set := b.fake.Sets[s].Set
		set.Family, set.Table, set.Handle = family, name, nil
		tx.Add(&set)
	}
	for _, m := range slices.Sorted(maps.Keys(b.fake.Maps)) {
		set := b.fake.Maps[m].Map
		set.Family, set.Table, set.Handle = family, name, nil
		tx.Add(&set)
	}
	for _, c := range slices.Sorted(maps.Keys(b.rules)) {
		for _, r := range b.rules[c] {
			rule := *r
			rule.Family, rule.Table, rule.Handle = family, name, nil
			tx.Add(&rule)
		}
	}
	mark := fixedMark
	for _, s := range slices.Sorted(maps.Keys(b.elems)) {
		for _, e := range b.elems[s] {
			tx.Add(b.element(t, s, e, &mark))
		}
	}
	for _, m := range members {
		tx.Add(b.element(t, m.Set, elem{m.Elem, m.Value}, nil))
	}
}

func (b *body) element(t plan.Table, set string, e elem, comment *string) *knftables.Element {
	out := &knftables.Element{
		Family: knftables.Family(t.Family), Table: t.Name,
		Key: strings.Split(e.key, " . "), Comment: comment,
	}
	if e.value == "" {
		out.Set = set
	} else {
		out.Map, out.Value = set, strings.Split(e.value, " . ")
	}
	return out
}

func sum(parts ...string) string {
	s := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(s[:])
}
