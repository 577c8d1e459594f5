// SPDX-License-Identifier: Apache-2.0

package tunnel_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/tunnel"
)

func TestChoose(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		var v fleet.View
		if err := json.Unmarshal(c.File(t, "in.json"), &v); err != nil {
			t.Fatal(err)
		}
		links, notes := tunnel.Choose(v)
		var b strings.Builder
		for _, l := range links {
			fmt.Fprintln(&b, l)
		}
		for _, n := range notes {
			fmt.Fprintln(&b, n)
		}
		return b.String()
	})
}

// TestServingMovesOnlyWhatItMust takes one of three cloud gateways away: only
// the domains it served may move, and the load must have been spread.
func TestServingMovesOnlyWhatItMust(t *testing.T) {
	cloud := fleet.Domain{Name: "gw-cloud", Cloud: true}
	for _, n := range []string{"cloud-1", "cloud-2", "cloud-3"} {
		cloud.Gateways = append(cloud.Gateways, usable(n))
	}
	fewer := cloud
	fewer.Gateways = cloud.Gateways[:2]
	served := map[string]int{}
	for i := range 3000 {
		domain := fmt.Sprintf("gw-shop-%d", i)
		before, _ := tunnel.Serving(cloud, domain)
		after, ok := tunnel.Serving(fewer, domain)
		if !ok {
			t.Fatalf("%s is served by nobody", domain)
		}
		if before.Node != "cloud-3" && before.Node != after.Node {
			t.Fatalf("%s moved from %s to %s although its gateway stayed", domain, before.Node, after.Node)
		}
		served[before.Node]++
	}
	for n, k := range served {
		if k < 900 || k > 1100 {
			t.Errorf("%s serves %d of 3000 sites; want about a third", n, k)
		}
	}
}

func usable(node string) fleet.Gateway {
	return fleet.Gateway{
		Node: node, PublicKey: "key of " + node, Active: true,
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:4500")},
	}
}
