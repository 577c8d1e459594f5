// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

var meshOwner = plan.Owner{Name: "mesh", Proto: 203}

const firewallBody = `
add set pods4 { type ipv4_addr ; flags interval ; }
add element pods4 { 10.42.0.0/16, 10.43.0.0/16, 10.96.0.7 }
add set pods6 { type ipv6_addr ; flags interval ; }
add set never4 { type ipv4_addr ; flags interval ; }
add element never4 { 0.0.0.0/8, 224.0.0.0/3 }
add set hosts { type ipv4_addr ; }
add set wires { type ifname . mark . ether_addr ; }
add map ports { type inet_proto . inet_service : ipv4_addr . inet_service ; }
add map ports6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service ; }
add chain ingress { type filter hook prerouting priority -300 ; }
add rule ingress iifname "mag-wg0" ip daddr @never4 drop
add rule ingress iifname "mag-wg0" ip daddr != @pods4 counter drop comment "not for us"
add chain forward { type filter hook forward priority -150 ; }
add rule forward iifname { "mag-wg0", "mag-vxlan" } tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
add rule forward jump more
add chain more
add rule more ip saddr @hosts accept
`

func firewall() plan.Plan {
	member := func(set, elem, value string) plan.Member {
		return plan.Member{Family: "inet", Table: "magpie-mesh", Set: set, Elem: elem, Value: value}
	}
	return plan.Plan{
		Tables: []plan.Table{{Family: "inet", Name: "magpie-mesh", Body: firewallBody}},
		Members: []plan.Member{
			member("hosts", "10.42.1.5", ""), member("hosts", "10.42.1.6", ""),
			member("pods6", "fd42::/48", ""), member("pods6", "fd43::7", ""),
			member("pods4", "172.16.0.0/12", ""), // beside fixed elements
			member("wires", "eth0 . 0x00100000 . 02:00:00:00:00:01", ""),
			member("ports", "tcp . 8080", "10.42.1.5 . 80"), member("ports", "sctp . 9", "10.42.1.6 . 90"),
			member("ports6", "fd00::1 . udp . 53", "fd42::5 . 5353"),
		},
	}
}

func TestKernelTable(t *testing.T) {
	h := newHost(t, kernel.Options{})
	w := h.Own(meshOwner)
	want := firewall()
	converge(t, w, want)
	settled(t, w, want)

	t.Run("restart writes nothing", func(t *testing.T) {
		again, err := kernel.Open(kernel.Options{Namespace: "/run/netns/host"})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		settled(t, again.Own(meshOwner), want)
	})
	t.Run("a member moves in place", func(t *testing.T) {
		want := firewall()
		want.Members[6].Value = "10.42.1.9 . 80"
		want.Members = want.Members[1:]
		if n := converge(t, w, want); n != 2 {
			t.Errorf("wrote %d times, want 2", n)
		}
		settled(t, w, want)
	})
	converge(t, w, want)

	rule := func() string {
		for line := range strings.Lines(nft(t, "-a list chain inet magpie-mesh more")) {
			if _, handle, ok := strings.Cut(line, "# handle "); ok && strings.Contains(line, "accept") {
				return strings.TrimSpace(handle)
			}
		}
		t.Fatal("no such rule")
		return ""
	}
	for name, change := range map[string]func(){
		"delete table":      func() { nft(t, "delete table inet magpie-mesh") },
		"delete rule":       func() { nft(t, "delete rule inet magpie-mesh more handle "+rule()) },
		"replace rule":      func() { nft(t, "replace rule inet magpie-mesh more handle "+rule()+" drop") },
		"add rule":          func() { nft(t, "add rule inet magpie-mesh more drop") },
		"insert rule":       func() { nft(t, "insert rule inet magpie-mesh ingress accept") },
		"flush chain":       func() { nft(t, "flush chain inet magpie-mesh forward") },
		"add chain":         func() { nft(t, "add chain inet magpie-mesh x") },
		"add set":           func() { nft(t, "add set inet magpie-mesh x { type mark; }") },
		"policy":            func() { nft(t, "chain inet magpie-mesh forward { policy drop ; }") },
		"fixed element":     func() { nft(t, "delete element inet magpie-mesh pods4 { 10.42.0.0/16 }") },
		"member":            func() { nft(t, "delete element inet magpie-mesh hosts { 10.42.1.5 }") },
		"extra member":      func() { nft(t, "add element inet magpie-mesh hosts { 10.42.1.77 }") },
		"another's element": func() { nft(t, "add element inet magpie-mesh pods4 { 192.168.0.0/24 }") },
		"same comment": func() {
			mark := nft(t, "list chain inet magpie-mesh more")
			_, mark, _ = strings.Cut(mark, "accept comment ")
			mark, _, _ = strings.Cut(mark, "\n")
			nft(t, "replace rule inet magpie-mesh more handle "+rule()+" drop comment "+mark)
		},
	} {
		t.Run("repair "+name, func(t *testing.T) {
			settled(t, w, want)
			change()
			if n := converge(t, w, want); n == 0 {
				t.Fatal("change not seen")
			}
			settled(t, w, want)
		})
	}
	t.Run("foreign table stays", func(t *testing.T) {
		nft(t, "add table inet magpie-meshes")
		nft(t, "add table inet kube-proxy")
		settled(t, w, want)
		converge(t, w, plan.Plan{})
		if got := nft(t, "list tables"); got != "table inet magpie-meshes\ntable inet kube-proxy\n" {
			t.Errorf("left: %s", got)
		}
	})
}

// nft runs the nft program in the test's host.
func nft(tb testing.TB, args string) string {
	tb.Helper()
	return sandbox.Run(tb, "ip netns exec host nft "+args)
}
