// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// fastPod is pod with its part of the fast path.
func fastPod(ns string, n int) plan.Plan {
	p := pod(ns, n)
	d := p.Devices[0]
	p.Sysctls = nil // nobody says here which ones matter to a process that starts anew
	p.Programs = []plan.Program{{Dev: d.Name, Name: plan.FromPod}}
	for _, a := range p.Addrs {
		p.Shortcuts = append(p.Shortcuts, plan.Shortcut{Addr: a.Prefix.Addr(), Dev: d.Name, MAC: d.PeerMAC, From: d.MAC})
	}
	return p
}

// TestKernelFastPath: whatever is done to the fast path by hand is found, by a
// wake or by looking, and mended; others' filters on the same devices stay; a
// process that starts anew finds what the last one left and writes nothing.
func TestKernelFastPath(t *testing.T) {
	kernel.Need(t, kernel.FeatureFastPath)
	h := newHost(t, kernel.Options{})
	underlay(t)
	ns := sandbox.Namespace(t, "pod1")
	inside := kernel.WithNamespaces(func() []string { return []string{ns} })
	pods, over := fastPod(ns, 1), overlay()
	over.Programs = []plan.Program{{Dev: "mag-vxlan", Name: plan.FromOverlay}}
	podWorld, overWorld := h.Own(podOwner, inside), h.Own(overlayOwner)
	whole := func() {
		t.Helper()
		settled(t, podWorld, pods)
		settled(t, overWorld, over)
	}
	converge(t, podWorld, pods)
	converge(t, overWorld, over)
	whole()
	wake := h.Watch(t.Context())
	for _, vandal := range []struct {
		what  string
		world plan.Owner
		want  plan.Plan
	}{
		{"tc -n host qdisc del dev magp1 clsact", podOwner, pods},
		{"tc -n host qdisc del dev mag-vxlan clsact", overlayOwner, over},
		{"tc -n host filter del dev magp1 ingress", podOwner, pods},
	} {
		time.Sleep(500 * time.Millisecond) // until it listens, or is quiet again
		for len(wake) > 0 {
			<-wake
		}
		sandbox.Run(t, vandal.what)
		select {
		case <-wake:
		case <-time.After(time.Second):
			t.Errorf("%s: no wake", vandal.what)
		}
		if n := converge(t, h.Own(vandal.world, inside), vandal.want); n == 0 {
			t.Errorf("%s: not missed", vandal.what)
		}
		whole()
	}
	foreign := "tc -n host filter add dev magp1 ingress prio 7 protocol ip u32 match u32 0 0 flowid 1:1"
	sandbox.Run(t, foreign)
	whole()

	other, err := kernel.Open(kernel.Options{Namespace: "/run/netns/host"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	settled(t, other.Own(podOwner, inside), pods)
	settled(t, other.Own(overlayOwner), over)
	for len(wake) > 0 {
		<-wake
	}
	if _, err := other.Own(podOwner).Apply(t.Context(), plan.Plan{Shortcuts: pods.Shortcuts[:1]}, plan.Plan{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-wake:
	case <-time.After(time.Second):
		t.Error("a shortcut was removed: no wake")
	}
	if n := converge(t, podWorld, pods); n == 0 {
		t.Error("a shortcut was removed: not missed")
	}

	plain := pods
	plain.Programs, plain.Shortcuts = nil, nil
	converge(t, podWorld, plain)
	settled(t, podWorld, plain)
	if left := sandbox.Run(t, "tc -n host filter show dev magp1 ingress"); !strings.Contains(left, "u32") || strings.Contains(left, "magpie") {
		t.Errorf("filters after ours were taken away:\n%s", left)
	}
}
