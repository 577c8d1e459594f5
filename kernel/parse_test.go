// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/plan"
)

// parsePlan reads what Plan.Text prints, so that scenarios say what is wanted
// in the words in which they say what is found.
func parsePlan(tb testing.TB, text string) plan.Plan {
	tb.Helper()
	var p plan.Plan
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "  "):
			p.Tables[len(p.Tables)-1].Body += strings.TrimSpace(line) + "\n"
		default:
			parseItem(tb, &p, strings.Fields(line))
		}
	}
	return p
}

// options are the words after the fixed ones: pairs, and the flag "onlink".
type options struct {
	t testing.TB
	m map[string]string
}

func newOptions(tb testing.TB, words []string) options {
	tb.Helper()
	o := options{tb, map[string]string{}}
	for len(words) > 0 {
		if words[0] == "onlink" || words[0] == "v6" {
			o.m[words[0]] = "true"
			words = words[1:]
			continue
		}
		if len(words) < 2 {
			tb.Fatalf("odd word %q", words[0])
		}
		o.m[words[0]] = words[1]
		words = words[2:]
	}
	return o
}

func (o options) int(key string) int {
	o.t.Helper()
	if o.m[key] == "" {
		return 0
	}
	n, err := strconv.Atoi(o.m[key])
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

func (o options) addr(key string) netip.Addr {
	if o.m[key] == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(o.m[key])
}

func (o options) prefix(key string) netip.Prefix {
	if o.m[key] == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(o.m[key])
}

func parseItem(tb testing.TB, p *plan.Plan, w []string) {
	tb.Helper()
	switch w[0] {
	case "device":
		o := newOptions(tb, w[3:])
		p.Devices = append(p.Devices, plan.Device{
			NS: o.m["ns"], Name: w[1], Kind: plan.Kind(w[2]), MAC: o.m["mac"], MTU: o.int("mtu"),
			PeerName: o.m["peer"], PeerNS: o.m["peer-ns"], PeerMAC: o.m["peer-mac"],
			VNI: o.int("vni"), Port: o.int("port"), Local: o.addr("local"), Underlay: o.m["dev"],
		})
	case "sysctl":
		o := newOptions(tb, w[4:])
		p.Sysctls = append(p.Sysctls, plan.Sysctl{Name: w[1], Value: w[3], NS: o.m["ns"]})
	case "addr":
		o := newOptions(tb, w[2:])
		p.Addrs = append(p.Addrs, plan.Addr{Prefix: netip.MustParsePrefix(w[1]), Dev: o.m["dev"], NS: o.m["ns"]})
	case "neigh":
		o := newOptions(tb, w[2:])
		p.Neighs = append(p.Neighs, plan.Neigh{IP: netip.MustParseAddr(w[1]), Dev: o.m["dev"], MAC: o.m["mac"], NS: o.m["ns"]})
	case "fdb":
		o := newOptions(tb, w[2:])
		p.FDBs = append(p.FDBs, plan.FDB{MAC: w[1], Dev: o.m["dev"], Dst: o.addr("dst")})
	case "route":
		o := newOptions(tb, w[2:])
		p.Routes = append(p.Routes, plan.Route{
			Dst: netip.MustParsePrefix(w[1]), Via: o.addr("via"), Dev: o.m["dev"], Src: o.addr("src"),
			MTU: o.int("mtu"), OnLink: o.m["onlink"] != "", Table: o.int("table"), NS: o.m["ns"],
		})
	case "rule":
		o := newOptions(tb, w[2:])
		priority, _ := strconv.Atoi(w[1])
		p.Rules = append(p.Rules, plan.Rule{
			Priority: priority, V6: o.m["v6"] != "", From: o.prefix("from"), To: o.prefix("to"), Table: o.int("table"),
		})
	case "shape":
		o := newOptions(tb, w[2:])
		p.Shapes = append(p.Shapes, plan.Shape{
			Dev: w[1], Rate: uint64(o.int("rate")), Burst: uint64(o.int("burst")), Redirect: o.m["redirect"], NS: o.m["ns"],
		})
	case "table":
		p.Tables = append(p.Tables, plan.Table{Family: w[1], Name: w[2]})
	case "member":
		elem, value, _ := strings.Cut(strings.Trim(strings.Join(w[4:], " "), "{} "), " : ")
		p.Members = append(p.Members, plan.Member{Family: w[1], Table: w[2], Set: w[3], Elem: elem, Value: value})
	case "accept":
		p.Accepts = append(p.Accepts, plan.Accept{V6: w[1] == "ip6", Chain: w[2], Match: strings.Join(w[3:], " ")})
	case "program":
		p.Programs = append(p.Programs, plan.Program{Name: w[1], Dev: w[3]})
	case "shortcut":
		o := newOptions(tb, w[2:])
		p.Shortcuts = append(p.Shortcuts, plan.Shortcut{
			Addr: netip.MustParseAddr(w[1]), Dev: o.m["dev"], MAC: o.m["mac"], From: o.m["from"],
		})
	default:
		tb.Fatalf("item %q: not known to this test", w[0])
	}
}
