// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"strings"
)

// fresh begins a table that replaces one of the same name, if any.
func fresh(name string) string {
	return fmt.Sprintf("add table inet %s\ndelete table inet %s\n", name, name)
}

// bogons: a private address on the internet is a bug of somebody, and must not
// work by accident.
var bogons = fresh("bogons") + `table inet bogons {
  set private {
    type ipv4_addr; flags interval
    elements = { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 }
  }
  chain forward {
    type filter hook forward priority 0; policy accept
    ip saddr @private counter drop
    ip daddr @private counter drop
  }
}
`

// natTable is the NAT and firewall of a site's router. round counts how often
// the NAT was rebound: each round hands out other ports.
func natTable(s Site, round int) string {
	if s.NAT == OneToOne {
		return fresh("nat") + oneToOne(s)
	}
	return fresh("nat") + masquerade(s, round)
}

// oneToOne gives each host with an EIP that address, towards the internet and
// towards its neighbours in the VPC (hairpin): there the source becomes the
// sender's EIP too, or the answer would take the short way and be refused.
// The security group opens what the product's documentation asks users to.
func oneToOne(s Site) string {
	var in, out []string
	for _, h := range hostsOf(s.Name) {
		if h.EIP != "" {
			in = append(in, h.EIP+" : "+h.IP)
			out = append(out, h.IP+" : "+h.EIP)
		}
	}
	return fmt.Sprintf(`table inet nat {
  map eip {
    type ipv4_addr : ipv4_addr
    elements = { %s }
  }
  map host {
    type ipv4_addr : ipv4_addr
    elements = { %s }
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept
    dnat ip to ip daddr map @eip
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept
    oifname "wan" snat ip to ip saddr map @host
    oifname "lan" ct status dnat snat ip to ip saddr map @host
  }
  chain input {
    type filter hook input priority 0; policy accept
    ct state established,related accept
    iifname "wan" meta l4proto != icmp counter drop
  }
  chain forward {
    type filter hook forward priority 0; policy accept
    ct state established,related accept
    iifname "wan" meta l4proto icmp accept
    iifname "wan" tcp dport { 443, 6443, 30000-32767 } accept
    iifname "wan" udp dport { 4500, 30000-32767 } accept
    iifname "wan" counter drop
  }
}
`, strings.Join(in, ", "), strings.Join(out, ", "))
}

// masquerade is the NAT of an edge site. What the private line carries is
// neither translated nor filtered.
func masquerade(s Site, round int) string {
	how := "masquerade"
	if round > 0 {
		low := 20000 + (round%4)*10000
		how = fmt.Sprintf("meta l4proto { tcp, udp } masquerade to :%d-%d", low, low+9999)
	}
	if s.NAT == Symmetric {
		how += " fully-random"
	}
	learn, dnat := "", ""
	if s.NAT == FullCone {
		// After the masquerade the packet bears its outer port. The last
		// sender is remembered, and whoever writes to the port reaches it.
		learn = `
  map cone {
    typeof udp sport : ip saddr . udp sport
    flags dynamic,timeout
    timeout 5m
    size 65535
  }
  chain learn {
    type filter hook postrouting priority 110; policy accept
    oifname "wan" meta l4proto udp update @cone { udp sport : ct original ip saddr . ct original proto-src }
  }`
		dnat = "\n    iifname \"wan\" meta l4proto udp dnat ip to udp dport map @cone"
	}
	return fmt.Sprintf(`table inet nat {%s
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept%s
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept
    oifname "wan" %s
  }
  chain input {
    type filter hook input priority 0; policy accept
    ct state established,related accept
    iifname "wan" meta l4proto != icmp counter drop
  }
  chain forward {
    type filter hook forward priority 0; policy accept
    ct state established,related accept
    iifname "wan" ct status dnat accept
    iifname "wan" counter drop
  }
}
`, learn, dnat, how)
}
