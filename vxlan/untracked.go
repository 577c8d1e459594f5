// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"fmt"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// untracked is the table that keeps the overlay's own packets out of
// connection tracking, in both families and both directions. An outer packet
// is part of no connection: its source port is a hash of what it carries and
// nothing answers it. Tracked, it would cost a look-up at each end and an entry
// for each flow inside. What is inside is tracked as ever.
//
// Rules know an outer packet by its VXLAN header, not by its port alone: a
// Service may have that port, too, and needs tracking for its address to be
// translated. A firewall of the host sees these packets as "ct state
// untracked".
func untracked(s fleet.Settings) plan.Table {
	var b strings.Builder
	for _, hook := range []string{"prerouting", "output"} {
		fmt.Fprintf(&b, "add chain %s { type filter hook %s priority -300 ; }\n", hook, hook)
		fmt.Fprintf(&b, "add rule %s udp dport %d @th,64,32 %#x @th,96,32 %#x notrack\n", hook, s.Port, vniPresent, s.VNI<<8)
	}
	return plan.Table{Family: "inet", Name: api.TablePrefix + Owner.Name, Body: b.String()}
}

// vniPresent is the first word of the header of a VXLAN packet. The VNI stands
// in the upper three bytes of the second.
// Source: RFC 7348 section 5.
const vniPresent = 0x08000000
