// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/tunnel/mesh"
)

// TestReportChangesOnlyWithLiveness: what a gateway reports of its peers is
// the same, byte for byte, while they live and while they are gone.
func TestReportChangesOnlyWithLiveness(t *testing.T) {
	start := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	var h hearing
	report := func(second int, rx int64) string {
		now := start.Add(time.Duration(second) * time.Second)
		h.listen(now, []mesh.Sound{{Peer: "k", Rx: rx, Handshake: start, Hello: true}})
		p := published{view: fleet.View{Self: fleet.Self{Node: "cloud-1"}}, node: &corev1.Node{}, now: now, peers: []peer{{key: "k", rx: rx}}}
		h.heard(p.peers)
		m, err := reportManifest(p)
		if err != nil {
			t.Fatal(err)
		}
		return m.JSON
	}
	live := report(0, 1)
	for i := range 5 {
		if got := report(10*i, int64(i+1)); got != live {
			t.Errorf("a hello was written to the API:\n%s\n%s", live, got)
		}
	}
	gone := report(70, 5)
	if gone == live {
		t.Error("half a minute of silence is not reported")
	}
	for i := range 5 {
		if got := report(80+i, 5); got != gone {
			t.Errorf("silence is written again:\n%s\n%s", gone, got)
		}
	}
	if got := report(90, 6); got != live {
		t.Errorf("the peer is back:\n%s\n%s", live, got)
	}
}
