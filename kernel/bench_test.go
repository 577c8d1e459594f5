// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"testing"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
)

// BenchmarkPodAdd is what ADD and DEL cost inside the agent.
func BenchmarkPodAdd(b *testing.B) {
	h := newHost(b, kernel.Options{})
	ns := newNS(b, "pod1")
	want := pod(ns, 1)
	w := h.Own(podOwner)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Apply(b.Context(), plan.Plan{}, want); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := w.Apply(b.Context(), want, plan.Plan{}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
