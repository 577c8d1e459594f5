// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// state is a packet as a chain sees it.
type state struct {
	packet   Packet
	iif, oif string
	mark     uint32
	// mine tells whether an address is the node's own.
	mine func(netip.Addr) bool
	// to is where dnat sends the packet; zero until then.
	to netip.AddrPort
}

// words is a cursor over the words of a rule.
type words struct{ rest []string }

func (w *words) next() string {
	if len(w.rest) == 0 {
		return ""
	}
	s := w.rest[0]
	w.rest = w.rest[1:]
	return s
}

// take consumes these words if they come next.
func (w *words) take(want ...string) bool {
	if len(w.rest) < len(want) || !slices.Equal(w.rest[:len(want)], want) {
		return false
	}
	w.rest = w.rest[len(want):]
	return true
}

// rule compiles one rule. Everything in it must be understood, whether or not
// a packet ever gets that far.
func (t *table) rule(text string, ws []string) (rule, error) {
	r := rule{text: text}
	w := &words{ws}
	for len(w.rest) > 0 {
		done, err := t.statement(&r, w)
		if err != nil {
			return r, err
		}
		if done {
			continue
		}
		m, err := t.match(w)
		if err != nil {
			return r, err
		}
		r.matches = append(r.matches, m)
	}
	return r, nil
}

// statement compiles what a rule does; false means that a match comes next.
func (t *table) statement(r *rule, w *words) (bool, error) {
	switch {
	case w.take("accept"):
		r.do = actAccept
	case w.take("drop"):
		r.do = actDrop
	case w.take("return"):
		r.do = actReturn
	case w.take("jump"):
		r.do, r.target = actJump, w.next()
	case w.take("goto"):
		r.do, r.target = actGoto, w.next()
	case w.take("masquerade"):
		r.do = actMasquerade
		_ = w.take("fully-random") || w.take("random")
	case w.take("tcp", "option", "maxseg", "size", "set", "rt", "mtu"), w.take("counter"), w.take("notrack"):
		// The MSS shrinks, a number grows, conntrack looks away; the packet goes on.
	case w.take("comment"):
		w.rest = nil
	case w.take("dnat"):
		return true, t.dnat(r, w)
	default:
		return false, nil
	}
	return true, nil
}

// dnat compiles "dnat ip to KEY . KEY map @name": an address the map does not
// hold is no match, as in the kernel.
func (t *table) dnat(r *rule, w *words) error {
	if !w.take("ip", "to") && !w.take("ip6", "to") {
		return errUnknown("dnat " + strings.Join(w.rest, " "))
	}
	key, err := concat(w)
	if err != nil {
		return err
	}
	if !w.take("map") {
		return errUnknown("dnat " + strings.Join(w.rest, " "))
	}
	name := strings.TrimPrefix(w.next(), "@")
	r.do = actDNAT
	r.matches = append(r.matches, func(s *state) bool {
		for _, e := range t.sets[name] {
			if e.key == key(s) {
				to, err := netip.ParseAddrPort(joinHostPort(e.value))
				s.to = to
				return err == nil
			}
		}
		return false
	})
	return nil
}

// joinHostPort turns nft's "10.42.1.5 . 80" into Go's "10.42.1.5:80".
func joinHostPort(s string) string {
	host, port, _ := strings.Cut(s, " . ")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// selector reads one property of a packet as nft prints it.
type selector func(*state) string

// selectors are the properties this package knows, by nft's words.
func selectors(words string) (selector, bool) {
	f, ok := map[string]selector{
		"ip saddr":     func(s *state) string { return s.packet.Src.String() },
		"ip6 saddr":    func(s *state) string { return s.packet.Src.String() },
		"ip daddr":     func(s *state) string { return s.packet.Dst.String() },
		"ip6 daddr":    func(s *state) string { return s.packet.Dst.String() },
		"meta l4proto": func(s *state) string { return s.packet.Proto },
		"meta nfproto": func(s *state) string { return nfproto(s.packet.Dst) },
		"th dport":     func(s *state) string { return strconv.Itoa(int(s.packet.Port)) },
		"tcp dport":    func(s *state) string { return strconv.Itoa(int(s.packet.Port)) },
		"udp dport":    func(s *state) string { return strconv.Itoa(int(s.packet.Port)) },
	}[words]
	return f, ok
}

func nfproto(a netip.Addr) string {
	if a.Is6() {
		return "ipv6"
	}
	return "ipv4"
}

// concat compiles "ip daddr . meta l4proto . th dport".
func concat(w *words) (selector, error) {
	var parts []selector
	for {
		if len(w.rest) < 2 {
			return nil, errUnknown(strings.Join(w.rest, " "))
		}
		f, ok := selectors(w.rest[0] + " " + w.rest[1])
		if !ok {
			return nil, errUnknown(w.rest[0] + " " + w.rest[1])
		}
		w.rest = w.rest[2:]
		parts = append(parts, f)
		if !w.take(".") {
			break
		}
	}
	return func(s *state) string {
		out := make([]string, len(parts))
		for i, p := range parts {
			out[i] = p(s)
		}
		return strings.Join(out, " . ")
	}, nil
}

// match compiles one condition.
func (t *table) match(w *words) (match, error) {
	switch {
	case w.take("iifname"):
		return device(w, func(s *state) string { return s.iif }), nil
	case w.take("oifname"):
		return device(w, func(s *state) string { return s.oif }), nil
	case w.take("fib", "daddr", "type", "local"):
		return func(s *state) bool { return s.mine(s.packet.Dst) }, nil
	case w.take("meta", "mark"), w.take("mark"):
		return mark(w)
	case w.take("ct", "state"):
		// A walk is the first packet of a flow.
		list := set(w)
		return func(*state) bool { return slices.Contains(list, "new") }, nil
	case w.take("ct", "direction"):
		way := w.next()
		return func(*state) bool { return way == "original" }, nil
	case w.take("tcp", "flags"):
		return flags(w)
	case w.take("@th", ","):
		return payload(w)
	}
	family, proto := "", ""
	if len(w.rest) > 1 {
		switch w.rest[0] {
		case "ip", "ip6":
			family = w.rest[0]
		case "tcp", "udp":
			proto = w.rest[0]
		}
	}
	key, err := concat(w)
	if err != nil {
		return nil, err
	}
	not := w.take("!=")
	inside := t.compare(w)
	return func(s *state) bool {
		if family != "" && (family == "ip6") != s.packet.Dst.Is6() || proto != "" && proto != s.packet.Proto {
			return false
		}
		return inside(key(s)) != not
	}, nil
}

// compare compiles the right side of a condition: a named set, a list or one
// value.
func (t *table) compare(w *words) func(string) bool {
	if len(w.rest) > 0 && strings.HasPrefix(w.rest[0], "@") {
		name := strings.TrimPrefix(w.next(), "@")
		return func(v string) bool { return member(t.sets[name], v) }
	}
	var elems []element
	for _, v := range set(w) {
		elems = append(elems, element{key: v})
	}
	return func(v string) bool { return member(elems, v) }
}

// member compares as text, and a single address also with prefixes and ranges.
func member(elems []element, v string) bool {
	if slices.ContainsFunc(elems, func(e element) bool { return e.key == v }) {
		return true
	}
	a, err := netip.ParseAddr(v)
	return err == nil && holds(elems, a)
}

// set reads "x", "x,y" or "{ x, y }".
func set(w *words) []string {
	var out []string
	if w.take("{") {
		for len(w.rest) > 0 && !w.take("}") {
			if s := w.next(); s != "," {
				out = append(out, s)
			}
		}
		return out
	}
	out = append(out, w.next())
	for w.take(",") {
		out = append(out, w.next())
	}
	return out
}

// device compares an interface name; a final * stands for any ending.
func device(w *words, of selector) match {
	not := w.take("!=")
	name := w.next()
	prefix, open := strings.CutSuffix(name, "*")
	return func(s *state) bool {
		same := of(s) == name || open && strings.HasPrefix(of(s), prefix)
		return same != not
	}
}

// mark compiles "& 0x4000 == 0x4000" and "0x4000".
func mark(w *words) (match, error) {
	mask := uint64(0xffff_ffff)
	var err error
	if w.take("&") {
		if mask, err = strconv.ParseUint(w.next(), 0, 32); err != nil {
			return nil, fmt.Errorf("mark: %w", err)
		}
	}
	not := w.take("!=")
	_ = w.take("==")
	want, err := strconv.ParseUint(w.next(), 0, 32)
	if err != nil {
		return nil, fmt.Errorf("mark: %w", err)
	}
	return func(s *state) bool { return (uint64(s.mark)&mask == want) != not }, nil
}

// payload compiles "64,32 0x08000000", bits behind the ports: a walk's packet
// carries nothing there.
func payload(w *words) (match, error) {
	offset, comma, length, value := w.next(), w.next(), w.next(), w.next()
	for _, number := range []string{offset, length, value} {
		if _, err := strconv.ParseUint(number, 0, 32); err != nil || comma != "," {
			return nil, errUnknown("@th," + offset + comma + length + " " + value)
		}
	}
	return func(*state) bool { return false }, nil
}

// flags compiles "syn / syn,rst" and "& (syn | rst) == syn": the first packet
// of a TCP flow is a SYN and nothing else. Other flags are not known.
func flags(w *words) (match, error) {
	if w.take("&", "(syn", "|", "rst)", "==", "syn") || w.take("syn", "/", "syn", ",", "rst") {
		return func(s *state) bool { return s.packet.Proto == "tcp" }, nil
	}
	return nil, errUnknown("tcp flags " + strings.Join(w.rest, " "))
}
