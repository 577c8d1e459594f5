// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"encoding/json"
	"testing"
)

// TestEveryPodReachesEveryPod is the matrix of `make lab`: every ordered pair
// of nodes, TCP, UDP and a packet of full MTU, both families, and a Service by
// its name.
func TestEveryPodReachesEveryPod(t *testing.T) {
	settle(t) // `up` may just have put other agents into place
	connected(t)
}

// connected runs the survey that ends `make lab`.
func connected(t *testing.T) {
	t.Helper()
	var got struct {
		OK bool `json:"ok"`
	}
	out := ctl(t, "connectivity", "-o", "json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if !got.OK {
		t.Error(out)
	}
}

// TestRestartedAgentsKeepFlows ends the agents of both gateways on the way of
// a connection, one after the other. In the lab WireGuard runs inside them, so
// packets are lost while they are away; the connection must live.
func TestRestartedAgentsKeepFlows(t *testing.T) {
	edge, cloud := newPod(t, "b-1"), newPod(t, "cloud-1")
	for _, node := range []string{"b-1", "cloud-1", "cloud-2"} {
		t.Run(node, func(t *testing.T) {
			gap := gapWhile(t, edge, cloud, func() { restartAgent(t, node) })
			t.Logf("longest gap: %v", gap)
			if gap.Seconds() > 20 {
				t.Errorf("the connection stood still for %v", gap)
			}
		})
	}
}
