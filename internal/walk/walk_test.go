// SPDX-License-Identifier: Apache-2.0

package walk_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/internal/walk"
	"github.com/magpie-edge/magpie/plan"
)

// world is the lab's: a VPC with two gateways, two shops with the same LAN and
// a plant with nobody else in it.
func world() fleet.View {
	gw := func(node, fill string, active bool, endpoints ...netip.AddrPort) fleet.Gateway {
		return fleet.Gateway{Node: node, PublicKey: strings.Repeat(fill, 43) + "=", Active: active, MTU: 1420, Endpoints: endpoints}
	}
	node := func(name, addr string, n int) fleet.Node {
		return fleet.Node{
			Name: name, Addr4: netip.MustParseAddr(addr), Addr6: netip.MustParseAddr(fmt.Sprintf("fd00::%d", n)),
			PodCIDRs: []netip.Prefix{
				netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", n)), netip.MustParsePrefix(fmt.Sprintf("fd42:%d::/64", n)),
			},
			VTEPMAC: fmt.Sprintf("02:00:00:00:00:%02d", n), VTEPMAC6: fmt.Sprintf("02:66:00:00:00:%02d", n),
		}
	}
	return fleet.View{
		Domains: []fleet.Domain{
			{
				Name: "gw-cloud", Cloud: true,
				Nodes: []fleet.Node{node("cloud-1", "10.0.0.11", 1), node("cloud-2", "10.0.0.12", 2)},
				Gateways: []fleet.Gateway{
					gw("cloud-1", "1", true, netip.MustParseAddrPort("203.0.113.11:4500")),
					gw("cloud-2", "2", true, netip.MustParseAddrPort("203.0.113.12:4500")),
				},
			},
			{
				Name:     "gw-plant",
				Nodes:    []fleet.Node{node("c-1", "172.20.0.11", 6)},
				Gateways: []fleet.Gateway{gw("c-1", "C", true)},
			},
			{
				Name:     "gw-shop-a",
				Nodes:    []fleet.Node{node("a-1", "192.168.1.11", 3), node("a-2", "192.168.1.12", 4)},
				Gateways: []fleet.Gateway{gw("a-1", "A", true), gw("a-2", "a", false)},
			},
			{
				Name:     "gw-shop-b",
				Nodes:    []fleet.Node{node("b-1", "192.168.1.11", 5)},
				Gateways: []fleet.Gateway{gw("b-1", "B", true)},
			},
		},
		Settings: fleet.Settings{
			ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/16")},
			VNI:          1, Port: 8472, Links: true,
		},
	}
}

// packet parses "10.42.1.5 10.42.3.7 tcp 80".
func packet(t *testing.T, s string) walk.Packet {
	t.Helper()
	f := strings.Fields(s)
	port, err := strconv.ParseUint(f[3], 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return walk.Packet{Src: netip.MustParseAddr(f[0]), Dst: netip.MustParseAddr(f[1]), Proto: f[2], Port: uint16(port)}
}

func text(r walk.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %s, MTU %d, over %s: %s", r.Verdict, r.Kind, r.MTU, strings.Join(r.Nodes, " > "), r.Reason)
	if r.Relay != "" {
		b.WriteString(", relayed by " + r.Relay)
	}
	for _, h := range r.Hops {
		fmt.Fprintf(&b, "\n  %s %s: %s (%s)", h.Node, h.What, h.Text, h.Why)
	}
	return b.String()
}

// TestWalk shows whole walks: a flow a line in, every hop out.
func TestWalk(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		f := walk.New(walk.Views(world(), 1500))
		var out []string
		for line := range strings.Lines(string(c.File(t, "flows"))) {
			from, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			r, err := f.Walk(from, packet(t, rest))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, "# "+strings.TrimSpace(line), text(r))
		}
		return strings.Join(out, "\n")
	})
}

// TestEveryPair: with everything in order each pod reaches each other pod, in
// both families, without losing its address.
func TestEveryPair(t *testing.T) {
	views := walk.Views(world(), 1500)
	f := walk.New(views)
	for _, from := range views {
		for _, to := range views {
			for i := range from.Self.PodCIDRs {
				src, dst := from.Self.PodCIDRs[i].Addr().Next().Next(), to.Self.PodCIDRs[i].Addr().Next().Next().Next()
				r, err := f.Walk(from.Self.Node, walk.Packet{Src: src, Dst: dst, Proto: "tcp", Port: 80})
				if err != nil {
					t.Fatal(err)
				}
				if r.Verdict != walk.Delivered || r.Nodes[len(r.Nodes)-1] != to.Self.Node {
					t.Errorf("%s to %s: %s", from.Self.Node, to.Self.Node, text(r))
				}
				if (from.Self.Domain == to.Self.Domain) == (r.Kind == walk.Link) {
					t.Errorf("%s to %s goes by %s", from.Self.Node, to.Self.Node, r.Kind)
				}
				for _, h := range r.Hops {
					if h.What == "masquerade" {
						t.Errorf("%s to %s: the pod loses its address: %s", from.Self.Node, to.Self.Node, h.Why)
					}
				}
			}
		}
	}
}

// TestFaults: one thing wrong, and the walk says which.
func TestFaults(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(map[string]*fleet.View)
		from  string
		flow  string
		want  string
	}{
		{
			"far gateway has lost its key", func(v map[string]*fleet.View) { v["c-1"].Self.LinkKey = strings.Repeat("X", 43) + "=" },
			"c-1", "10.42.6.5 10.42.1.5 tcp 80", "has no peer with the sender's key",
		},
		{
			"neighbour has another MAC", func(v map[string]*fleet.View) { v["a-2"].Self.VTEPMAC = "02:00:00:00:99:99" },
			"a-1", "10.42.3.5 10.42.4.5 tcp 80", "its VTEP has 02:00:00:00:99:99, the sender believes 02:00:00:00:00:04",
		},
		{
			"neighbour has another VNI", func(v map[string]*fleet.View) { v["a-2"].Settings.VNI = 7 },
			"a-1", "10.42.3.5 10.42.4.5 tcp 80", "its VTEP has VNI 7 port 8472, the sender VNI 1 port 8472",
		},
		{
			"links switched off", func(v map[string]*fleet.View) { v["a-1"].Settings.Links = false },
			"a-1", "10.42.3.5 10.42.5.5 tcp 80", "links between domains are switched off (raven-cfg enable-l3-tunnel)",
		},
		{
			"far gateway has not heard of us", func(v map[string]*fleet.View) {
				for _, n := range []string{"cloud-1", "cloud-2"} {
					v[n].Domains = v[n].Domains[:2]
				}
			},
			"a-1", "10.42.3.5 10.42.1.5 tcp 80", "has no peer with the sender's key",
		},
		{
			"nobody owns it", func(map[string]*fleet.View) {},
			"a-1", "10.42.3.5 10.42.200.5 tcp 80", "no node has 10.42.200.5 in its pod range",
		},
		{
			"a source that is another site's", func(map[string]*fleet.View) {},
			"c-1", "10.42.3.5 10.42.1.5 tcp 80", "only another peer may send from 10.42.3.0/24",
		},
		{
			"a source that nobody has here", func(map[string]*fleet.View) {},
			"b-1", "10.42.6.5 10.42.1.5 tcp 80", "no peer may send from 10.42.6.5",
		},
		{
			"the metadata service", func(v map[string]*fleet.View) {
				v["a-1"].Domains = append([]fleet.Domain{}, v["a-1"].Domains...)
				v["a-1"].Domains[0].Extra = []netip.Prefix{netip.MustParsePrefix("100.100.100.0/24")}
			},
			"a-1", "10.42.3.5 100.100.100.200 tcp 80", "drop",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			views := walk.Views(world(), 1500)
			byName := map[string]*fleet.View{}
			for i := range views {
				byName[views[i].Self.Node] = &views[i]
			}
			tt.spoil(byName)
			r, err := walk.New(views).Walk(tt.from, packet(t, tt.flow))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != walk.Dropped || !strings.Contains(r.Reason, tt.want) {
				t.Errorf("want dropped because %q, got\n%s", tt.want, text(r))
			}
		})
	}
}

// TestSource: a node sends to pods with an address that finds its way back,
// from the device the packet leaves by, and to others with its own.
func TestSource(t *testing.T) {
	f := walk.New(walk.Views(world(), 1500))
	for _, tt := range []struct{ from, dst, want string }{
		{"a-2", "10.42.3.6", "10.42.4.0"},       // over the overlay
		{"c-1", "10.42.3.6", "10.42.6.0"},       // by its link
		{"c-1", "fd42:3::6", "fd42:6::"},        // the same in IPv6
		{"a-1", "192.168.1.12", "192.168.1.11"}, // its neighbour
	} {
		src, err := f.Source(tt.from, netip.MustParseAddr(tt.dst))
		if err != nil || src.String() != tt.want {
			t.Errorf("%s to %s: %s, %v, want %s", tt.from, tt.dst, src, err, tt.want)
		}
		r, err := f.Walk(tt.from, walk.Packet{Src: src, Dst: netip.MustParseAddr(tt.dst), Proto: "tcp", Port: 80})
		if err != nil || r.Verdict != walk.Delivered {
			t.Errorf("%s to %s: %v\n%s", tt.from, tt.dst, err, text(r))
		}
	}
}

// TestFirewall walks single tables: what a rule form means, and that an
// unknown one is refused.
func TestFirewall(t *testing.T) {
	const base = "add chain c { type filter hook prerouting priority filter - 5 ; policy accept ; }\n"
	tests := []struct{ name, body, want string }{
		{"empty", base, "accept"},
		{"policy", "add chain c { type filter hook prerouting priority 0 ; policy drop ; }", "drop"},
		{"set", "add set s { type ipv4_addr ; flags interval ; }\nadd element s { 10.9.0.0/16, 10.42.0.0/16 }\n" + base + "add rule c ip daddr @s drop", "drop"},
		{"not in set", "add set s { type ipv4_addr ; }\n" + base + "add rule c ip daddr != @s drop", "drop"},
		{"range", base + "add rule c ip daddr { 10.42.0.0-10.42.255.255 } drop", "drop"},
		{"port", base + "add rule c tcp dport { 22, 80 } drop", "drop"},
		{"other protocol", base + "add rule c udp dport 80 drop", "accept"},
		{"other family", base + "add rule c ip6 daddr ::/0 drop", "accept"},
		{"device prefix", base + `add rule c iifname "magp*" drop`, "drop"},
		{"device", base + `add rule c iifname != "magp-pod" drop`, "accept"},
		{"mark", base + "add rule c meta mark & 0x4000 == 0x4000 drop", "accept"},
		{"accept ends the chain", base + "add rule c counter accept\nadd rule c drop", "accept"},
		{"jump returns", "add chain d\n" + base + "add rule d ip saddr 10.0.0.0/8 return\nadd rule d drop\nadd rule c jump d", "accept"},
		{"jump", "add chain d\n" + base + "add rule d drop\nadd rule c ct state new jump d", "drop"},
		{"established only", base + "add rule c ct state established,related drop", "accept"},
		{"replies only", base + "add rule c ct direction reply drop", "accept"},
		{"inside of a packet", base + "add rule c udp dport 80 @th,64,32 0x8000000 notrack\nadd rule c tcp dport 80 notrack\nadd rule c @th,64,32 0 drop", "accept"},
		{"unknown payload", base + "add rule c @th,64 drop", `cannot walk through "@th,64drop "`},
		{"unknown match", base + "add rule c socket transparent 1 drop", `cannot walk through "socket transparent"`},
		{"unknown verdict", base + "add rule c queue", `cannot walk through "queue"`},
		{"unknown line", "add flowtable f", `cannot walk through "flowtable"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := walk.Filter("prerouting", "magp-pod", packet(t, "10.42.1.5 10.42.2.5 tcp 80"),
				[]plan.Table{{Family: "inet", Name: "t", Body: tt.body}})
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
