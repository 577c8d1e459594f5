// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"log/slog"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// keys are made up for a test.
type keys map[string]string

func (k keys) PrivateKey(public string) (string, bool) { p, ok := k[public]; return p, ok }

func (k keys) Preshared(ref string) (key [32]byte, ok bool) {
	copy(key[:], ref)
	return key, true
}

func newKey(t *testing.T, k keys) string {
	t.Helper()
	private, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	k[private.PublicKey().String()] = private.String()
	return private.PublicKey().String()
}

func userspace() wire.UserspaceWireGuard {
	return wire.UserspaceWireGuard{Log: slog.New(slog.DiscardHandler)}
}

// spokenBy fails unless that driver has the device.
func spokenBy(t *testing.T, h *kernel.Host, want kernel.Driver) {
	t.Helper()
	s, err := h.LinkState("mag-wg0")
	if err != nil {
		t.Fatal(err)
	}
	if s.Userspace != (want == kernel.DriverUserspace) {
		t.Errorf("userspace: %v, want %s", s.Userspace, want)
	}
}

// TestKernelWireGuard holds both drivers to the same.
func TestKernelWireGuard(t *testing.T) {
	kernel.Need(t, kernel.FeatureTUN)
	for _, driver := range kernel.Drivers(t) {
		t.Run(string(driver), func(t *testing.T) { testWireGuard(t, driver) })
	}
}

func testWireGuard(t *testing.T, driver kernel.Driver) {
	t.Helper()
	k := keys{}
	h := newHost(t, kernel.Options{Keys: k, Driver: driver, Userspace: userspace()})
	w := h.Own(meshOwner)
	self, a, b := newKey(t, k), newKey(t, k), newKey(t, k)
	allowed := func(prefix, peer string) plan.Allowed {
		return plan.Allowed{Dev: "mag-wg0", Prefix: netip.MustParsePrefix(prefix), Peer: peer}
	}
	want := plan.Plan{
		Devices: []plan.Device{{Name: "mag-wg0", Kind: plan.WireGuard, MTU: 1400, ListenPort: 45001, PublicKey: self}},
		Peers: []plan.Peer{
			{Dev: "mag-wg0", PublicKey: a, PresharedRef: "a", Endpoint: netip.MustParseAddrPort("203.0.113.7:4500"), Keepalive: 25},
			{Dev: "mag-wg0", PublicKey: b},
		},
		Allowed: []plan.Allowed{allowed("10.42.2.0/24", a), allowed("10.42.3.0/24", b), allowed("fd42:0:0:2::/64", a)},
		Routes:  []plan.Route{{Dst: netip.MustParsePrefix("10.42.2.0/24"), Dev: "mag-wg0", MTU: 1300}},
	}
	converge(t, w, want)
	settled(t, w, want)
	spokenBy(t, h, driver)
	for _, c := range []struct {
		name   string
		change func()
	}{
		{"move a prefix", func() { want.Allowed[0].Peer = b }},
		{"move it back", func() { want.Allowed[0].Peer = a }},
		{"keepalive", func() { want.Peers[0].Keepalive = 10 }},
		{"endpoint", func() { want.Peers[0].Endpoint = netip.MustParseAddrPort("[2001:db8::1]:4500") }},
		{"psk", func() { want.Peers[1].PresharedRef = "b" }},
		{"no psk", func() { want.Peers[0].PresharedRef = "" }},
		{"mtu", func() { want.Devices[0].MTU = 1380 }},
		{"port", func() { want.Devices[0].ListenPort = 45002 }},
		{"down", func() { sandbox.Run(t, "ip -n host link set mag-wg0 down") }},
		{"rotate own key", func() { want.Devices[0].PublicKey = newKey(t, k) }},
		{"device deleted", func() { sandbox.Run(t, "ip -n host link del mag-wg0") }},
		{"endpoint left to the peer", func() { want.Peers[0].Endpoint = netip.AddrPort{} }},
		{"drop a prefix", func() { want.Allowed = want.Allowed[:2] }},
		{"a peer leaves", func() { want.Peers, want.Allowed = want.Peers[1:], want.Allowed[1:] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change()
			converge(t, w, want)
			settled(t, w, want)
			spokenBy(t, h, driver)
		})
	}
	t.Run("restart of the loop writes nothing", func(t *testing.T) {
		again, err := kernel.Open(kernel.Options{Namespace: "/run/netns/host", Keys: k})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if n := converge(t, again.Own(meshOwner), want); n != 0 {
			t.Errorf("wrote %d times", n)
		}
	})
	converge(t, w, plan.Plan{})
	settled(t, w, plan.Plan{})
}
