// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/magpie-edge/magpie/plan"
)

// firewall is the nftables tables of one node, ready to be walked.
type firewall struct{ chains []*chain }

// chain is one base chain or one that others jump to.
type chain struct {
	table    *table
	name     string
	hook     string // "" if no base chain
	priority int
	policy   action
	rules    []rule
}

// table is one parsed plan.Table.
type table struct {
	family, name string
	chains       map[string]*chain
	sets         map[string][]element
}

// element is one member of a set, or one entry of a map.
type element struct{ key, value string }

// rule is all its matches, then what it does.
type rule struct {
	text    string
	matches []match
	do      action
	target  string // chain of a jump or goto
}

// match reports whether the packet is meant.
type match func(*state) bool

// action is what a rule does with a packet that it matches.
type action string

// The actions that this package can walk through.
const (
	actNone       action = "" // goes on: counters, MSS
	actAccept     action = "accept"
	actDrop       action = "drop"
	actReturn     action = "return"
	actMasquerade action = "masquerade"
	actJump       action = "jump"
	actGoto       action = "goto"
	actDNAT       action = "dnat"
)

// priorities are nft's words for hook priorities.
// Source: nft(8), "Standard priority names".
var priorities = map[string]int{
	"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100,
}

// parseTables reads every table; a line it does not understand is an error.
func parseTables(tables []plan.Table, members []plan.Member) (firewall, error) {
	var fw firewall
	for _, pt := range tables {
		t := &table{family: pt.Family, name: pt.Name, chains: map[string]*chain{}, sets: map[string][]element{}}
		for _, m := range members {
			if m.Family == pt.Family && m.Table == pt.Name {
				t.sets[m.Set] = append(t.sets[m.Set], element{m.Elem, m.Value})
			}
		}
		for line := range strings.Lines(pt.Body) {
			if err := t.line(strings.TrimSpace(line)); err != nil {
				return firewall{}, fmt.Errorf("table %s %s: %q: %w", pt.Family, pt.Name, strings.TrimSpace(line), err)
			}
		}
		for _, c := range t.chains {
			if c.hook != "" {
				fw.chains = append(fw.chains, c)
			}
		}
	}
	slices.SortFunc(fw.chains, func(a, b *chain) int {
		if d := compare(a.priority, b.priority); d != 0 {
			return d
		}
		return compare(a.table.name+a.name, b.table.name+b.name)
	})
	return fw, nil
}

func (t *table) line(s string) error {
	w := lex(s)
	if len(w) == 0 || strings.HasPrefix(s, "#") {
		return nil
	}
	if len(w) < 3 || w[0] != "add" {
		return errUnknown(s)
	}
	switch w[1] {
	case "set", "map":
		if _, ok := t.sets[w[2]]; !ok {
			t.sets[w[2]] = nil
		}
		return nil
	case "chain":
		return t.chain(w[2], w[3:])
	case "element":
		return t.elements(w[2], w[3:])
	case "rule":
		c, ok := t.chains[w[2]]
		if !ok {
			return fmt.Errorf("no chain %s", w[2])
		}
		r, err := t.rule(strings.TrimPrefix(s, "add rule "+w[2]+" "), w[3:])
		c.rules = append(c.rules, r)
		return err
	}
	return errUnknown(w[1])
}

func (t *table) chain(name string, w []string) error {
	c := &chain{table: t, name: name, policy: actAccept}
	t.chains[name] = c
	for i := 0; i+1 < len(w); i++ {
		switch w[i] {
		case "hook":
			c.hook = w[i+1]
		case "policy":
			c.policy = action(w[i+1])
		case "priority":
			n, err := priority(w[i+1:])
			if err != nil {
				return err
			}
			c.priority = n
		}
	}
	return nil
}

// priority reads "100", "srcnat", "srcnat - 5" and "srcnat + 5".
func priority(w []string) (int, error) {
	n, err := strconv.Atoi(w[0])
	base, named := priorities[w[0]]
	switch {
	case err == nil:
		return n, nil
	case !named:
		return 0, errUnknown("priority " + w[0])
	case len(w) < 3 || (w[1] != "-" && w[1] != "+"):
		return base, nil
	}
	n, err = strconv.Atoi(w[1] + w[2])
	if err != nil {
		return 0, fmt.Errorf("priority: %w", err)
	}
	return base + n, nil
}

// elements reads "{ a, b : c }".
func (t *table) elements(set string, w []string) error {
	if len(w) < 2 || w[0] != "{" || w[len(w)-1] != "}" {
		return errUnknown(strings.Join(w, " "))
	}
	for part := range strings.SplitSeq(strings.Join(w[1:len(w)-1], " "), " , ") {
		key, value, _ := strings.Cut(part, " : ")
		t.sets[set] = append(t.sets[set], element{key, value})
	}
	return nil
}

// lex splits a line into words, with braces and commas words of their own and
// quotes removed.
func lex(s string) []string {
	for _, c := range []string{"{", "}", ",", ";"} {
		s = strings.ReplaceAll(s, c, " "+c+" ")
	}
	w := strings.Fields(s)
	for i := range w {
		w[i] = strings.Trim(w[i], `"`)
	}
	return w
}

func errUnknown(what string) error { return fmt.Errorf("cannot walk through %q", what) }

// holds reports whether a set has an element for addr.
func holds(elems []element, addr netip.Addr) bool {
	return slices.ContainsFunc(elems, func(e element) bool { return covers(e.key, addr) })
}

// covers compares an address with what nft writes: an address, a prefix, or a
// range.
func covers(text string, addr netip.Addr) bool {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Contains(addr)
	}
	if from, to, ok := strings.Cut(text, "-"); ok {
		a, errA := netip.ParseAddr(from)
		b, errB := netip.ParseAddr(to)
		return errA == nil && errB == nil && a.Compare(addr) <= 0 && addr.Compare(b) <= 0
	}
	a, err := netip.ParseAddr(text)
	return err == nil && a == addr
}
