// SPDX-License-Identifier: Apache-2.0

//go:build bench

package e2e_test

import (
	"slices"
	"testing"
	"time"
)

// execRatio is how much longer `kubectl exec -- true` on a node behind NAT may
// take than on a cloud node, end to end.
const execRatio = 1.3

// TestExecBesideACloudNode runs both in turns, so that whatever else the
// machine does falls on both.
func TestExecBesideACloudNode(t *testing.T) {
	const rounds = 21
	nodes := []string{"cloud-1", "a-1", "b-1"}
	prepareSubjects(t)
	argv := kubectlPath(t)
	took := map[string][]time.Duration{}
	for range rounds {
		for _, n := range nodes {
			start := time.Now()
			run(t, slices.Concat(argv, []string{"exec", subject(n), "-c", "ticks", "--", "true"})...)
			took[n] = append(took[n], time.Since(start))
		}
	}
	median := map[string]time.Duration{}
	for n, d := range took {
		slices.Sort(d)
		median[n] = d[len(d)/2]
	}
	for _, n := range nodes[1:] {
		ratio := float64(median[n]) / float64(median[nodes[0]])
		t.Logf("kubectl exec -- true on %s: %v, on %s: %v, ratio %.2f (goal %.1f)", n, median[n], nodes[0], median[nodes[0]], ratio, execRatio)
		if ratio > execRatio {
			t.Errorf("%s: %.2f", n, ratio)
		}
	}
}
