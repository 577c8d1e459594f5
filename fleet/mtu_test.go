// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"net/netip"
	"testing"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
)

func TestMTU(t *testing.T) {
	for _, c := range []struct {
		name           string
		under4, under6 int // MTU of the underlays, 0: none
		six            bool
		set            int
		over4, over6   int
		pod            int
	}{
		{name: "derived", under4: 1500, over4: 1450, pod: 1450},
		{name: "derived, both families", under4: 1500, under6: 1500, six: true, over4: 1450, over6: 1430, pod: 1430},
		{name: "less is the operator's right", under4: 1500, set: 1400, over4: 1400, pod: 1400},
		{name: "more than the underlay carries", under4: 1500, set: 9000, over4: 1450, pod: 1450},
		{name: "more, IPv6 only", under6: 1500, six: true, set: 1500, over6: 1430, pod: 1430},
		{name: "jumbo frames", under4: 9000, set: 9000, over4: 8950, pod: 8950},
		{name: "a narrow underlay", under4: 1300, over4: 1250, pod: 1250},
		{name: "too narrow for IPv6", under4: 1300, under6: 1300, six: true, over4: 1250, pod: api.MTUMin},
		{name: "just wide enough for IPv6", under6: 1350, six: true, over6: 1280, pod: 1280},
		{name: "no underlay", set: 1400},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v fleet.View
			v.Settings.MTU = c.set
			if c.under4 > 0 {
				v.Self.Underlay4 = fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr("192.168.1.11"), MTU: c.under4}
			}
			if c.under6 > 0 {
				v.Self.Underlay6 = fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr("2001:db8::11"), MTU: c.under6}
			}
			if c.six {
				v.Self.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/64")}
			}
			got := [3]int{v.OverlayMTU(false), v.OverlayMTU(true), v.PodMTU()}
			if want := [3]int{c.over4, c.over6, c.pod}; got != want {
				t.Errorf("overlays and pods: got %v, want %v", got, want)
			}
		})
	}
}

// FuzzMTU: whatever the operator sets, an overlay carries no more than its
// underlay less the encapsulation, and a pod no more than its overlays do,
// save for what IPv6 cannot do without.
func FuzzMTU(f *testing.F) {
	f.Add(1500, 0, 9000, false)
	f.Add(1500, 1500, 9000, true)
	f.Add(1300, 1300, 0, true)
	f.Fuzz(func(t *testing.T, under4, under6, set int, six bool) {
		under4, under6, set = under4&0xffff, under6&0xffff, set&0xffff
		v := fleet.View{Settings: fleet.Settings{MTU: set}}
		v.Self.Underlay4 = fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr("192.168.1.11"), MTU: under4}
		v.Self.Underlay6 = fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr("2001:db8::11"), MTU: under6}
		least := 0
		if six {
			v.Self.PodCIDRs, least = []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/64")}, api.MTUMin
		}
		if got, limit := v.OverlayMTU(false), max(under4-api.OverheadVXLAN4, 0); got > limit {
			t.Errorf("IPv4 overlay of %d over %d", got, limit)
		}
		if got, limit := v.OverlayMTU(true), max(under6-api.OverheadVXLAN6, 0); got > limit {
			t.Errorf("IPv6 overlay of %d over %d", got, limit)
		}
		if got, limit := v.PodMTU(), max(under4-api.OverheadVXLAN4, least); got > limit {
			t.Errorf("pods of %d over %d", got, limit)
		}
	})
}
