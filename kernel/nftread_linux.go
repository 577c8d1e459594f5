// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// drifted begins the Body of a table that somebody has changed: it differs
// from every wanted one.
const drifted = "changed by another: "

// read appends the owner's tables and members. While nothing in nftables has
// changed it costs one small message.
func (n *nft) read(o plan.Owner, p *plan.Plan) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before, err := n.gen()
	if err != nil {
		return err
	}
	c, ok := n.cache[o.Name]
	if !ok || c.generation != before {
		if c, err = n.readTables(o); err != nil {
			return fmt.Errorf("read nftables: %w", err)
		}
		after, err := n.gen()
		if err != nil {
			return err
		}
		if after != before { // parts of two rulesets make none
			return fmt.Errorf("read nftables: %w", unix.EINTR)
		}
		c.generation = before
		n.cache[o.Name] = c
	}
	p.Tables = append(p.Tables, c.tables...)
	p.Members = append(p.Members, c.members...)
	return nil
}

// tableName is what an owner's tables are called, or begin with and a dash.
func tableName(o plan.Owner) string { return "magpie-" + o.Name }

func ownsTable(o plan.Owner, name string) bool {
	return name == tableName(o) || strings.HasPrefix(name, tableName(o)+"-")
}

func (n *nft) readTables(o plan.Owner) (cachedTables, error) {
	var c cachedTables
	for family, number := range families() {
		tables, err := n.ask(unix.NFT_MSG_GETTABLE, number, netlink.Dump)
		if err != nil {
			return c, err
		}
		for _, t := range tables {
			name := t.text(unix.NFTA_TABLE_NAME)
			if !ownsTable(o, name) {
				continue
			}
			key := plan.TableKey{Family: family, Name: name}
			state, err := n.readTable(key)
			if err != nil {
				return c, fmt.Errorf("table %s %s: %w", family, name, err)
			}
			c.tables = append(c.tables, n.judge(key, state))
			c.members = append(c.members, state.members...)
		}
	}
	return c, nil
}

// tableState is what the kernel says about one table.
type tableState struct {
	seal    string
	outline outline
	members []plan.Member
	// print is a sum over all the kernel keeps of chains, sets and rules, less
	// what changes by itself (handles, counters).
	print string
}

// judge says whether a table is as its seal says. The outline finds what was
// added, removed or reordered since it was written, even by an earlier
// process; the print finds any change since this process first saw it intact.
func (n *nft) judge(key plan.TableKey, s tableState) plan.Table {
	t := plan.Table{Family: key.Family, Name: key.Name}
	digest, outline, ok := strings.Cut(strings.TrimPrefix(s.seal, sealPrefix), "-")
	if !ok || s.outline.sum() != outline {
		t.Body = drifted + s.print
		return t
	}
	t.Body = "sha256:" + digest
	known, ok := n.known[key]
	switch {
	case !ok || (plan.Table{Body: known.body}).Digest() != t.Body:
		n.known[key] = knownTable{body: t.Body, print: s.print}
	case known.print == "":
		n.known[key] = knownTable{body: known.body, print: s.print}
		t.Body = known.body
	case known.print != s.print:
		t.Body = drifted + s.print
	default:
		t.Body = known.body
	}
	return t
}

// readTable reads chains, sets, rules and elements of a table.
func (n *nft) readTable(key plan.TableKey) (tableState, error) {
	var s tableState
	family := families()[key.Family]
	var raw []string
	chains, err := n.ask(unix.NFT_MSG_GETCHAIN, family, netlink.Dump)
	if err != nil {
		return s, err
	}
	for _, c := range chains {
		if c.text(unix.NFTA_CHAIN_TABLE) != key.Name {
			continue
		}
		name := c.text(unix.NFTA_CHAIN_NAME)
		raw = append(raw, rawOf("chain", c, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE, unix.NFTA_CHAIN_NAME))
		if strings.HasPrefix(name, sealPrefix) {
			s.seal = name
			continue
		}
		s.outline.chains = append(s.outline.chains, name)
	}
	if err := n.readRules(key, &s, &raw); err != nil {
		return s, err
	}
	if err := n.readSets(key, &s, &raw); err != nil {
		return s, err
	}
	s.print = sum(raw...)[:12]
	return s, nil
}

func (n *nft) readRules(key plan.TableKey, s *tableState, raw *[]string) error {
	rules, err := n.ask(unix.NFT_MSG_GETRULE, families()[key.Family], netlink.Dump, named(unix.NFTA_RULE_TABLE, key.Name))
	if err != nil {
		return err
	}
	for _, r := range rules {
		if r.text(unix.NFTA_RULE_TABLE) != key.Name {
			continue
		}
		chain := r.text(unix.NFTA_RULE_CHAIN)
		s.outline.rules = append(s.outline.rules, chain+" "+comment(r.get(unix.NFTA_RULE_USERDATA), ruleCommentType))
		*raw = append(*raw, "rule "+chain+" "+expressions(r))
	}
	return nil
}

// Types of the comment in the user data of rules and of set elements.
// Source: libnftnl include/libnftnl/udata.h.
const (
	ruleCommentType = 0
	elemCommentType = 0
)

// comment finds a comment in user data: type, length, bytes, again and again.
func comment(userdata []byte, kind byte) string {
	for len(userdata) >= 2 {
		size := int(userdata[1])
		if len(userdata) < 2+size {
			return ""
		}
		if userdata[0] == kind {
			return strings.TrimRight(string(userdata[2:2+size]), "\x00")
		}
		userdata = userdata[2+size:]
	}
	return ""
}

// expressions are the bytes of what a rule does, less counters.
func expressions(r attrs) string {
	var b strings.Builder
	for _, e := range r.nested(unix.NFTA_RULE_EXPRESSIONS) {
		inner, err := netlink.UnmarshalAttributes(e.Data)
		if err != nil {
			continue
		}
		name := attrs(inner).text(unix.NFTA_EXPR_NAME)
		b.WriteString(name + " ")
		if name != "counter" && name != "quota" {
			b.WriteString(hex.EncodeToString(attrs(inner).get(unix.NFTA_EXPR_DATA)) + " ")
		}
	}
	return b.String()
}

func rawOf(what string, a attrs, kinds ...uint16) string {
	parts := []string{what}
	for _, k := range kinds {
		parts = append(parts, hex.EncodeToString(a.get(k)))
	}
	return strings.Join(parts, " ")
}

// readSets reads named sets and maps with their elements.
func (n *nft) readSets(key plan.TableKey, s *tableState, raw *[]string) error {
	family := families()[key.Family]
	sets, err := n.ask(unix.NFT_MSG_GETSET, family, netlink.Dump, named(unix.NFTA_SET_TABLE, key.Name))
	if err != nil {
		return err
	}
	kinds := map[string]kind{}
	for _, a := range sets {
		name := a.text(unix.NFTA_SET_NAME)
		*raw = append(*raw, rawOf("set", a, unix.NFTA_SET_NAME, unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_TYPE, unix.NFTA_SET_DATA_TYPE))
		if a.number(unix.NFTA_SET_FLAGS)&unix.NFT_SET_ANONYMOUS != 0 {
			elems, err := n.elems(key, name)
			if err != nil {
				return err
			}
			for _, e := range elems {
				*raw = append(*raw, rawOf("elem", e, unix.NFTA_SET_ELEM_KEY, unix.NFTA_SET_ELEM_DATA))
			}
			continue
		}
		s.outline.sets = append(s.outline.sets, name)
		kinds[name] = kindFrom(a)
		if err := n.readElements(key, name, kinds[name], s); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	n.kinds[key] = kinds
	return nil
}

func kindFrom(a attrs) kind {
	flags := a.number(unix.NFTA_SET_FLAGS)
	k := kind{interval: flags&unix.NFT_SET_INTERVAL != 0}
	k.key, _ = fieldsNumbered(a.number(unix.NFTA_SET_KEY_TYPE))
	if flags&unix.NFT_SET_MAP != 0 {
		ok := false
		if k.value, ok = fieldsNumbered(a.number(unix.NFTA_SET_DATA_TYPE)); !ok {
			k.key = nil
		}
	}
	return k
}

// elems dumps the elements of a set.
func (n *nft) elems(key plan.TableKey, set string) ([]attrs, error) {
	replies, err := n.ask(unix.NFT_MSG_GETSETELEM, families()[key.Family], netlink.Dump,
		named(unix.NFTA_SET_ELEM_LIST_TABLE, key.Name), named(unix.NFTA_SET_ELEM_LIST_SET, set))
	if err != nil {
		return nil, err
	}
	var out []attrs
	for _, r := range replies {
		for _, e := range r.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS) {
			inner, err := netlink.UnmarshalAttributes(e.Data)
			if err != nil {
				return nil, err
			}
			out = append(out, inner)
		}
	}
	return out, nil
}

// rawElem is one element as the kernel lists it.
type rawElem struct {
	span
	end   bool // of an interval, exclusive
	fixed bool
}

// readElements divides a set's elements into fixed ones and members.
func (n *nft) readElements(key plan.TableKey, set string, k kind, s *tableState) error {
	list, err := n.elems(key, set)
	if err != nil {
		return err
	}
	var elems []rawElem
	for _, a := range list {
		e := rawElem{
			span: span{
				lo:    a.nested(unix.NFTA_SET_ELEM_KEY).get(unix.NFTA_DATA_VALUE),
				hi:    a.nested(elemKeyEnd).get(unix.NFTA_DATA_VALUE),
				value: a.nested(unix.NFTA_SET_ELEM_DATA).get(unix.NFTA_DATA_VALUE),
			},
			end:   a.number(unix.NFTA_SET_ELEM_FLAGS)&unix.NFT_SET_ELEM_INTERVAL_END != 0,
			fixed: comment(a.get(unix.NFTA_SET_ELEM_USERDATA), elemCommentType) == fixedMark,
		}
		if bytes.Equal(e.lo, e.hi) {
			e.hi = nil
		}
		elems = append(elems, e)
	}
	if k.interval && len(k.key) == 1 {
		elems = closeIntervals(elems)
	}
	var fixed []span
	unread := false
	for _, e := range elems {
		text, err := k.decode(e.span)
		switch {
		case err != nil:
			unread = unread || e.fixed
		case e.fixed:
			fixed = append(fixed, e.span)
		default:
			s.members = append(s.members, plan.Member{
				Family: key.Family, Table: key.Name, Set: set, Elem: text.key, Value: text.value,
			})
		}
	}
	for _, f := range k.join(fixed) {
		s.outline.fixed = append(s.outline.fixed, set+" "+f.String())
	}
	if unread {
		s.outline.fixed = append(s.outline.fixed, set+" ?")
	}
	return nil
}

// elemKeyEnd is NFTA_SET_ELEM_KEY_END, which x/sys lacks.
// Source: linux include/uapi/linux/netfilter/nf_tables.h.
const elemKeyEnd = 10

// closeIntervals joins the starts and ends of which an interval set consists
// into ranges. An end is the first value outside; the last range may have none.
func closeIntervals(elems []rawElem) []rawElem {
	slices.SortStableFunc(elems, func(a, b rawElem) int {
		if c := bytes.Compare(a.lo, b.lo); c != 0 {
			return c
		}
		if a.end == b.end {
			return 0
		}
		if a.end {
			return -1
		}
		return 1
	})
	var out []rawElem
	for i, e := range elems {
		if e.end || len(e.lo) == 0 {
			continue
		}
		e.hi = bytes.Repeat([]byte{0xff}, len(e.lo))
		if i+1 < len(elems) {
			e.hi = before(elems[i+1].lo)
		}
		if bytes.Equal(e.lo, e.hi) {
			e.hi = nil
		}
		out = append(out, e)
	}
	return out
}
