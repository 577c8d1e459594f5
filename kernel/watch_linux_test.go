// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestKernelWatch: every kind that announces itself wakes within a second,
// also in a pod's namespace; what the kernel learns by itself does not.
func TestKernelWatch(t *testing.T) {
	h := newHost(t, kernel.Options{})
	underlay(t)
	ns := sandbox.Namespace(t, "pod1")
	w := h.Own(podOwner, kernel.WithNamespaces(func() []string { return []string{ns} }))
	converge(t, w, pod(ns, 1))
	converge(t, h.Own(overlayOwner), overlay())
	converge(t, h.Own(meshOwner), firewall())
	ctx, cancel := context.WithCancel(t.Context())
	wake := h.Watch(ctx)
	time.Sleep(300 * time.Millisecond) // until it listens
	quiet := func() {
		for {
			select {
			case <-wake:
			case <-time.After(300 * time.Millisecond):
				return
			}
		}
	}
	for _, change := range []string{
		"ip -n host route del 10.42.2.0/24",
		"ip -n host -6 route del fd42:0:0:1::1",
		"ip -n host neigh del 10.42.2.0 dev mag-vxlan",
		"bridge -n host fdb del 02:00:00:00:00:0b dev mag-vxlan dst 192.168.1.12 self",
		"ip -n host addr del 10.42.1.0/32 dev mag-vxlan",
		"ip -n host rule add priority 4000 from 10.9.9.9 table 9",
		"ip -n host link set mag-vxlan mtu 1300",
		"ip netns exec host nft add chain inet magpie-mesh x",
		"ip netns exec host nft delete element inet magpie-mesh hosts { 10.42.1.5 }",
		"ip -n pod1 route del default",
		"ip -n host link del mag-vxlan",
	} {
		quiet()
		sandbox.Run(t, change)
		select {
		case <-wake:
		case <-time.After(time.Second):
			t.Errorf("%s: no wake", change)
		}
	}
	quiet()
	sandbox.Run(t, "ip -n host neigh add 192.168.1.77 lladdr 02:00:00:00:00:77 dev eth0 nud reachable")
	select {
	case <-wake:
		t.Error("a learned neighbour woke us")
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	select {
	case _, open := <-wake:
		for open {
			_, open = <-wake
		}
	case <-time.After(2 * time.Second):
		t.Error("the channel did not close")
	}
}

// TestKernelAdoptsFlannel: the device that flanneld made becomes ours with its
// MAC, so that no other node notices.
func TestKernelAdoptsFlannel(t *testing.T) {
	h := newHost(t, kernel.Options{})
	underlay(t)
	sandbox.Run(t, "ip -n host link add flannel.1 type vxlan id 1 local 192.168.1.11 dev eth0 dstport 8472 nolearning")
	sandbox.Run(t, "ip -n host link set flannel.1 address 02:00:00:00:00:0a up")
	sandbox.Run(t, "ip -n host addr add 10.42.1.0/32 dev flannel.1")
	sandbox.Run(t, "ip -n host route add 10.42.2.0/24 via 10.42.2.0 dev flannel.1 onlink")
	w := h.Own(overlayOwner)
	want := overlay()
	want.Devices[0].MAC = ""
	converge(t, w, want)
	settled(t, w, want)
	have, err := w.Observe(t.Context())
	if err != nil || have.Devices[0].MAC != "02:00:00:00:00:0a" {
		t.Errorf("MAC %q, %v", have.Devices[0].MAC, err)
	}
}

// TestKernelAddressChange: a new address of the node changes the device in
// place: neighbours and entries stay, and no packet is lost to a new device.
func TestKernelAddressChange(t *testing.T) {
	h := newHost(t, kernel.Options{})
	underlay(t)
	w := h.Own(overlayOwner)
	want := overlay()
	converge(t, w, want)
	before := sandbox.Run(t, "ip -n host -o link show mag-vxlan")
	sandbox.Run(t, "ip -n host addr add 192.168.1.99/24 dev eth0")
	want.Devices[0].Local = netip.MustParseAddr("192.168.1.99")
	if n := converge(t, w, want); n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
	settled(t, w, want)
	if after := sandbox.Run(t, "ip -n host -o link show mag-vxlan"); after[:3] != before[:3] {
		t.Errorf("made anew:\n%s%s", before, after)
	}
	sandbox.Run(t, "ip -n host link set mag-vxlan down")
	converge(t, w, want)
	settled(t, w, want)
}

// TestKernelForeign: what others have beside ours is the same before and after.
func TestKernelForeign(t *testing.T) {
	h := newHost(t, kernel.Options{})
	underlay(t)
	for _, line := range []string{
		"ip -n host link add br0 type bridge", "ip -n host link set br0 up",
		"ip -n host link add magic type bridge", // our prefix, another's device
		"ip -n host addr add 10.7.0.1/24 dev br0",
		"ip -n host route add 10.8.0.0/24 via 10.7.0.2",
		"ip -n host route add 10.9.0.0/24 via 10.7.0.2 proto bird",
		"ip -n host neigh add 10.7.0.2 lladdr 02:00:00:00:00:99 dev br0",
		"ip -n host rule add priority 100 fwmark 0x40 table 9027",
		"ip netns exec host nft add table ip magpiexyz",
		"ip netns exec host nft add table ip kube-proxy",
		"ip netns exec host iptables -A FORWARD -s 10.7.0.0/24 -j ACCEPT",
	} {
		sandbox.Run(t, line)
	}
	look := func() string {
		var b strings.Builder
		// What the kernel does by itself (link-local addresses) takes its time.
		for line := range strings.Lines(sandbox.Run(t, "ip -n host route show table all")) {
			if !strings.Contains(line, "proto kernel") {
				b.WriteString(line)
			}
		}
		for line := range strings.Lines(sandbox.Run(t, "ip -n host -o link")) {
			b.WriteString(strings.Join(strings.Fields(line)[:2], " ") + "\n")
		}
		return b.String() + sandbox.Run(t, "ip -n host -4 addr show br0") +
			sandbox.Run(t, "ip -n host rule") + sandbox.Run(t, "ip netns exec host nft list tables") + sandbox.Run(t, "ip netns exec host iptables -S") +
			sandbox.Run(t, "ip -n host neigh show nud permanent")
	}
	// Tables that iptables makes for itself are there before we look.
	sandbox.Run(t, "ip netns exec host ip6tables -S")
	before := look()
	for i, o := range []plan.Owner{overlayOwner, meshOwner, podOwner} {
		w := h.Own(o)
		var want plan.Plan
		switch i {
		case 0:
			want = overlay()
		case 1:
			want = firewall()
			want.Accepts = []plan.Accept{{Chain: "FORWARD", Match: "-s 10.42.0.0/16"}}
		case 2:
			want = pod(sandbox.Namespace(t, "pod1"), 1)
		}
		if _, err := w.Apply(t.Context(), plan.Plan{}, want); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Apply(t.Context(), want, plan.Plan{}); err != nil {
			t.Fatal(err)
		}
		converge(t, w, plan.Plan{})
	}
	if after := look(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestFeatures(t *testing.T) {
	for _, f := range kernel.Features() {
		if f == kernel.FeatureWireGuard {
			continue // user space stands in where the kernel has none
		}
		t.Run(string(f), func(t *testing.T) { kernel.Need(t, f) })
	}
}
