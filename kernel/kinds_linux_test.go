// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

func TestKernelShape(t *testing.T) {
	h := newHost(t, kernel.Options{})
	ns := sandbox.Namespace(t, "pod1")
	want := pod(ns, 1)
	want = plan.Plan{Devices: want.Devices}
	w := h.Own(podOwner, kernel.WithNamespaces(func() []string { return []string{ns} }))
	want.Devices = append(want.Devices, plan.Device{Name: "magi1", Kind: plan.IFB, MTU: 1450})
	want.Shapes = []plan.Shape{
		{Dev: "magp1", Rate: 10_000_000, Burst: 2_000_000},
		{Dev: "magp1", Redirect: "magi1"},
		{Dev: "magi1", Rate: 40_000_000_000, Burst: 64_000_000},
	}
	converge(t, w, want)
	settled(t, w, want)
	for _, change := range []string{
		"tc -n host qdisc del dev magp1 root",
		"tc -n host qdisc del dev magp1 ingress",
		"tc -n host filter del dev magp1 ingress",
		"tc -n host qdisc replace dev magi1 root handle 1: tbf rate 1mbit burst 10kb latency 50ms",
		"ip -n host link del magi1",
	} {
		sandbox.Run(t, change)
		if n := converge(t, w, want); n == 0 {
			t.Errorf("%s: not seen", change)
		}
		settled(t, w, want)
	}
	want.Shapes = want.Shapes[:1]
	want.Shapes[0].Rate = 20_000_000
	converge(t, w, want)
	settled(t, w, want)
	converge(t, w, plan.Plan{})
	settled(t, w, plan.Plan{})
}

func TestKernelAccept(t *testing.T) {
	t.Run("nft", testAccept)
	t.Run("legacy", func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"iptables", "ip6tables"} {
			program, err := exec.LookPath(name + "-legacy")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		testAccept(t)
	})
}

// testAccept keeps accepts in the chains of whichever iptables is in the path.
// A change by hand wakes a watch, with either kind.
func testAccept(t *testing.T) {
	t.Helper()
	h := newHost(t, kernel.Options{})
	w := h.Own(meshOwner)
	want := plan.Plan{Accepts: []plan.Accept{
		{Chain: "FORWARD", Match: "-s 10.42.0.0/16"},
		{Chain: "FORWARD", Match: "-d 10.42.1.5/32 -i mag-wg0"},
		{Chain: "INPUT", Match: "-p udp -m udp --dport 8472"},
		{V6: true, Chain: "FORWARD", Match: "-d fd42::/48"},
	}}
	sandbox.Run(t, "ip netns exec host iptables -A FORWARD -s 10.42.0.0/16 -j ACCEPT")
	sandbox.Run(t, "ip netns exec host iptables -P FORWARD DROP")
	converge(t, w, want)
	settled(t, w, want)
	wake := h.Watch(t.Context())
	time.Sleep(300 * time.Millisecond) // until it listens
	sandbox.Run(t, "ip netns exec host iptables -D FORWARD -s 10.42.0.0/16 -m comment --comment magpie:mesh -j ACCEPT")
	select {
	case <-wake:
	case <-time.After(time.Second):
		t.Error("a deleted accept woke nobody")
	}
	sandbox.Run(t, "ip netns exec host ip6tables -F FORWARD")
	if n := converge(t, w, want); n != 2 {
		t.Errorf("repaired with %d writes, want 2", n)
	}
	settled(t, w, want)
	converge(t, w, plan.Plan{})
	settled(t, w, plan.Plan{})
	if got, want := sandbox.Run(t, "ip netns exec host iptables -S FORWARD"), "-P FORWARD DROP\n-A FORWARD -s 10.42.0.0/16 -j ACCEPT\n"; got != want {
		t.Errorf("left:\n%s", got)
	}
}

func TestKernelRule(t *testing.T) {
	h := newHost(t, kernel.Options{})
	w := h.Own(meshOwner)
	want := plan.Plan{Rules: []plan.Rule{
		{Priority: 2470, Mark: 0x100000, Mask: 0x300000, Table: 2470},
		{Priority: 2471, From: netip.MustParsePrefix("10.42.0.0/16"), Table: 2470},
		{V6: true, Priority: 2470, To: netip.MustParsePrefix("fd42::/48"), Table: 2470},
	}}
	converge(t, w, want)
	settled(t, w, want)
	sandbox.Run(t, "ip -n host rule del priority 2471")
	converge(t, w, want)
	settled(t, w, want)
	converge(t, w, plan.Plan{})
	settled(t, w, plan.Plan{})
}
