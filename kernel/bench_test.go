// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// median reports the middle of what was measured, which a neighbour on the
// same machine disturbs less than the mean.
func median(b *testing.B, what string, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), what+"-p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), what+"-p99-µs")
}

// BenchmarkPod is what ADD and DEL of a dual-stack pod cost inside the agent.
func BenchmarkPod(b *testing.B) {
	h := newHost(b, kernel.Options{})
	ns := sandbox.Namespace(b, "pod1")
	want := pod(ns, 1)
	w := h.Own(podOwner)
	var add, del []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := w.Apply(b.Context(), plan.Plan{}, want); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, err := w.Apply(b.Context(), want, plan.Plan{}); err != nil {
			b.Fatal(err)
		}
		add, del = append(add, middle.Sub(start)), append(del, time.Since(middle))
	}
	median(b, "add", add)
	median(b, "del", del)
}

// BenchmarkObserve looks at a thousand routes, neighbours and entries.
func BenchmarkObserve(b *testing.B) {
	h := newHost(b, kernel.Options{})
	underlay(b)
	want := overlay()
	for i := range 1000 {
		via := netip.AddrFrom4([4]byte{10, byte(50 + i/250), byte(i % 250), 0})
		mac := fmt.Sprintf("02:00:00:01:%02x:%02x", i/256, i%256)
		want.Neighs = append(want.Neighs, plan.Neigh{Dev: "mag-vxlan", IP: via, MAC: mac})
		want.FDBs = append(want.FDBs, plan.FDB{Dev: "mag-vxlan", MAC: mac, Dst: netip.MustParseAddr("192.168.1.12")})
		want.Routes = append(want.Routes, plan.Route{Dst: netip.PrefixFrom(via, 24), Via: via, Dev: "mag-vxlan", OnLink: true})
	}
	w := h.Own(overlayOwner)
	converge(b, w, want)
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		have, err := w.Observe(b.Context())
		if err != nil || len(have.Routes) != 1001 {
			b.Fatal(len(have.Routes), err)
		}
		took = append(took, time.Since(start))
	}
	median(b, "observe", took)
}

// BenchmarkMember adds and removes one map element: a hostPort.
func BenchmarkMember(b *testing.B) {
	h := newHost(b, kernel.Options{})
	w := h.Own(meshOwner)
	converge(b, w, firewall())
	one := plan.Plan{Members: []plan.Member{{
		Family: "inet", Table: "magpie-mesh", Set: "ports", Elem: "tcp . 1234", Value: "10.42.1.5 . 80",
	}}}
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := w.Apply(b.Context(), plan.Plan{}, one); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		if _, err := w.Apply(b.Context(), one, plan.Plan{}); err != nil {
			b.Fatal(err)
		}
	}
	median(b, "add", took)
}
