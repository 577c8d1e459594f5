// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

var (
	podOwner     = plan.Owner{Name: "cni", Proto: 202}
	overlayOwner = plan.Owner{Name: "vxlan", Proto: 201}
)

// pod is the plan of one pod with both families.
func pod(ns string, n int) plan.Plan {
	dev := fmt.Sprintf("magp%d", n)
	hostMAC, podMAC := fmt.Sprintf("02:00:00:00:01:%02x", n), fmt.Sprintf("02:00:00:00:02:%02x", n)
	a4, a6 := netip.AddrFrom4([4]byte{10, 42, 1, byte(n)}), netip.MustParseAddr(fmt.Sprintf("fd42:0:0:1::%x", n))
	gw4, gw6 := netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::1")
	return plan.Plan{
		Devices: []plan.Device{{
			Name: dev, Kind: plan.Veth, MAC: hostMAC, MTU: 1450,
			PeerNS: ns, PeerName: "eth0", PeerMAC: podMAC,
		}},
		Sysctls: []plan.Sysctl{{Name: "net/ipv6/conf/" + dev + "/accept_dad", Value: "0"}},
		Addrs: []plan.Addr{
			{NS: ns, Dev: "eth0", Prefix: netip.PrefixFrom(a4, 32)},
			{NS: ns, Dev: "eth0", Prefix: netip.PrefixFrom(a6, 128)},
		},
		Neighs: []plan.Neigh{
			{NS: ns, Dev: "eth0", IP: gw4, MAC: hostMAC},
			{NS: ns, Dev: "eth0", IP: gw6, MAC: hostMAC},
			{Dev: dev, IP: a4, MAC: podMAC},
			{Dev: dev, IP: a6, MAC: podMAC},
		},
		Routes: []plan.Route{
			{NS: ns, Dst: netip.MustParsePrefix("169.254.1.1/32"), Dev: "eth0"},
			{NS: ns, Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: gw4, Dev: "eth0"},
			{NS: ns, Dst: netip.MustParsePrefix("::/0"), Via: gw6, Dev: "eth0"},
			{Dst: netip.PrefixFrom(a4, 32), Dev: dev},
			{Dst: netip.PrefixFrom(a6, 128), Dev: dev},
		},
	}
}

// overlay is the plan of a VXLAN device with one peer.
func overlay() plan.Plan {
	return plan.Plan{
		Devices: []plan.Device{{
			Name: "mag-vxlan", Kind: plan.VXLAN, MAC: "02:00:00:00:00:0a", MTU: 1450,
			VNI: 1, Port: 8472, Local: netip.MustParseAddr("192.168.1.11"), Underlay: "eth0",
		}},
		Addrs:  []plan.Addr{{Dev: "mag-vxlan", Prefix: netip.MustParsePrefix("10.42.1.0/32")}},
		Neighs: []plan.Neigh{{Dev: "mag-vxlan", IP: netip.MustParseAddr("10.42.2.0"), MAC: "02:00:00:00:00:0b"}},
		FDBs:   []plan.FDB{{Dev: "mag-vxlan", MAC: "02:00:00:00:00:0b", Dst: netip.MustParseAddr("192.168.1.12")}},
		Routes: []plan.Route{{
			Dst: netip.MustParsePrefix("10.42.2.0/24"), Via: netip.MustParseAddr("10.42.2.0"),
			Dev: "mag-vxlan", Src: netip.MustParseAddr("10.42.1.0"), OnLink: true,
		}},
	}
}

// underlay gives the test's host an eth0.
func underlay(tb testing.TB) {
	tb.Helper()
	sandbox.Run(tb, "ip -n host link add eth0 type veth peer name far")
	sandbox.Run(tb, "ip -n host link set eth0 up")
	sandbox.Run(tb, "ip -n host link set far up")
	sandbox.Run(tb, "ip -n host addr add 192.168.1.11/24 dev eth0")
}

// converge applies want to what is there and returns the number of writes.
func converge(tb testing.TB, w reconcile.World[plan.Plan], want plan.Plan) int {
	tb.Helper()
	have, err := w.Observe(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	n, err := w.Apply(tb.Context(), have, want)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// settled fails unless the world is as wanted and a further round is idle.
func settled(tb testing.TB, w reconcile.World[plan.Plan], want plan.Plan) {
	tb.Helper()
	have, err := w.Observe(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if steps := plan.Diff(have, want); len(steps) > 0 {
		tb.Fatalf("not as wanted: %v\n(-want +have)\n%s", steps, cmp.Diff(want.Text(), have.Text()))
	}
	if n := converge(tb, w, want); n != 0 {
		tb.Fatalf("a second round wrote %d times", n)
	}
}

func TestKernelPod(t *testing.T) {
	h := newHost(t, kernel.Options{})
	ns := sandbox.Namespace(t, "pod1")
	want := pod(ns, 1)
	w := h.Own(podOwner, kernel.WithNamespaces(func() []string { return []string{ns} }))
	converge(t, w, want)
	settled(t, w, want)
	converge(t, w, plan.Plan{})
	settled(t, w, plan.Plan{})
}

func TestKernelOverlay(t *testing.T) {
	h := newHost(t, kernel.Options{})
	underlay(t)
	want := overlay()
	w := h.Own(overlayOwner)
	converge(t, w, want)
	settled(t, w, want)
	converge(t, w, plan.Plan{})
	settled(t, w, plan.Plan{})
}
