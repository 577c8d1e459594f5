// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Identity of each item type: items with equal keys are the same kernel object.
type (
	DeviceKey struct{ NS, Name string }
	AddrKey   struct {
		NS, Dev string
		Prefix  netip.Prefix
	}
	NeighKey struct {
		NS, Dev string
		IP      netip.Addr
	}
	FDBKey   struct{ Dev, MAC string }
	RouteKey struct {
		NS    string
		Table int
		Dst   netip.Prefix
	}
	ShapeKey struct {
		NS, Dev string
		Ingress bool
	}
	PeerKey    struct{ Dev, PublicKey string }
	AllowedKey struct {
		Dev    string
		Prefix netip.Prefix
	}
	TableKey  struct{ Family, Name string }
	MemberKey struct{ Family, Table, Set, Elem string }
	SysctlKey struct{ NS, Key string }
	// ProgramKey has no name: a device has one program of ours.
	ProgramKey  struct{ Dev string }
	ShortcutKey struct{ Addr netip.Addr }
)

func (d Device) Key() DeviceKey   { return DeviceKey{d.NS, d.Name} }
func (a Addr) Key() AddrKey       { return AddrKey(a) }
func (n Neigh) Key() NeighKey     { return NeighKey{n.NS, n.Dev, n.IP} }
func (f FDB) Key() FDBKey         { return FDBKey{f.Dev, f.MAC} }
func (r Route) Key() RouteKey     { return RouteKey{r.NS, r.table(), r.Dst} }
func (r Rule) Key() Rule          { return r }
func (s Shape) Key() ShapeKey     { return ShapeKey{s.NS, s.Dev, s.Redirect != ""} }
func (p Peer) Key() PeerKey       { return PeerKey{p.Dev, p.PublicKey} }
func (a Allowed) Key() AllowedKey { return AllowedKey{a.Dev, a.Prefix} }
func (t Table) Key() TableKey     { return TableKey{t.Family, t.Name} }
func (m Member) Key() MemberKey   { return MemberKey{m.Family, m.Table, m.Set, m.Elem} }
func (a Accept) Key() Accept      { return a }
func (s Sysctl) Key() SysctlKey   { return SysctlKey{s.NS, s.Name} }

func (p Program) Key() ProgramKey   { return ProgramKey{p.Dev} }
func (s Shortcut) Key() ShortcutKey { return ShortcutKey{s.Addr} }

// mainTable is the kernel's RT_TABLE_MAIN, which Route.Table 0 stands for.
const mainTable = 254

func (r Route) table() int {
	if r.Table == 0 {
		return mainTable
	}
	return r.Table
}

// line joins words with spaces and leaves out pairs whose value is zero. It is
// what every String below is made of, so that goldens, logs and magpiectl
// agree.
type line []string

func (l *line) add(words ...string) { *l = append(*l, words...) }

func (l *line) opt(key string, value any) {
	s := fmt.Sprint(value)
	if s == "" || s == "0" || s == "invalid IP" || s == "invalid Prefix" || s == "invalid AddrPort" || s == "false" {
		return
	}
	l.add(key, s)
}

func (l *line) ns(ns string) { l.opt("ns", ns) }

// join is a line without options.
func join(words ...string) string { return strings.Join(words, " ") }

func (l *line) String() string { return strings.Join(*l, " ") }

func (d Device) String() string {
	l := line{"device", d.Name, string(d.Kind)}
	l.ns(d.NS)
	l.opt("mac", d.MAC)
	l.opt("mtu", d.MTU)
	l.opt("peer", d.PeerName)
	l.opt("peer-ns", d.PeerNS)
	l.opt("peer-mac", d.PeerMAC)
	l.opt("vni", d.VNI)
	l.opt("port", d.Port)
	l.opt("local", d.Local)
	l.opt("dev", d.Underlay)
	l.opt("listen", d.ListenPort)
	l.opt("key", d.PublicKey)
	return l.String()
}

func (a Addr) String() string {
	l := line{"addr", a.Prefix.String(), "dev", a.Dev}
	l.ns(a.NS)
	return l.String()
}

func (n Neigh) String() string {
	l := line{"neigh", n.IP.String(), "dev", n.Dev, "mac", n.MAC}
	l.ns(n.NS)
	return l.String()
}

func (f FDB) String() string {
	return join("fdb", f.MAC, "dev", f.Dev, "dst", f.Dst.String())
}

func (r Route) String() string {
	l := line{"route", r.Dst.String()}
	l.opt("via", r.Via)
	l.opt("dev", r.Dev)
	l.opt("src", r.Src)
	l.opt("mtu", r.MTU)
	if r.OnLink {
		l.add("onlink")
	}
	if t := r.table(); t != mainTable {
		l.add("table", strconv.Itoa(t))
	}
	l.ns(r.NS)
	return l.String()
}

func (r Rule) String() string {
	l := line{"rule", strconv.Itoa(r.Priority)}
	if r.V6 {
		l.add("v6")
	}
	l.opt("from", r.From)
	l.opt("to", r.To)
	if r.Mark != 0 || r.Mask != 0 {
		l.add("mark", fmt.Sprintf("%#x/%#x", r.Mark, r.Mask))
	}
	l.add("table", strconv.Itoa(r.Table))
	return l.String()
}

func (s Shape) String() string {
	l := line{"shape", s.Dev}
	l.ns(s.NS)
	l.opt("rate", s.Rate)
	l.opt("burst", s.Burst)
	l.opt("redirect", s.Redirect)
	return l.String()
}

func (p Peer) String() string {
	l := line{"peer", p.PublicKey, "dev", p.Dev}
	l.opt("psk", p.PresharedRef)
	l.opt("endpoint", p.Endpoint)
	l.opt("keepalive", p.Keepalive)
	l.opt("last", p.Last)
	return l.String()
}

func (a Allowed) String() string {
	return join("allowed", a.Prefix.String(), "dev", a.Dev, "peer", a.Peer)
}

// String gives the table's name only: a body is many lines, printed by dumps.
func (t Table) String() string { return join("table", t.Family, t.Name) }

func (m Member) String() string {
	l := line{"member", m.Family, m.Table, m.Set, "{", m.Elem}
	if m.Value != "" {
		l.add(":", m.Value)
	}
	l.add("}")
	return l.String()
}

func (a Accept) String() string {
	family := "ip"
	if a.V6 {
		family = "ip6"
	}
	return join("accept", family, a.Chain, a.Match)
}

func (p Program) String() string { return join("program", p.Name, "dev", p.Dev) }

func (s Shortcut) String() string {
	return join("shortcut", s.Addr.String(), "dev", s.Dev, "mac", s.MAC, "from", s.From)
}

func (s Sysctl) String() string {
	l := line{"sysctl", s.Name, "=", s.Value}
	l.ns(s.NS)
	return l.String()
}

func (n Note) String() string {
	return "note " + n.Code + " " + n.Subject + ": " + n.Text
}
