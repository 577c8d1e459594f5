// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

type keyring map[string]string

func (k keyring) PrivateKey(public string) (string, bool) {
	private, ok := k[public]
	return private, ok
}

func (keyring) Preshared(string) (key [32]byte, ok bool) { return key, false }

// end is one gateway: a namespace with a WireGuard device of ours.
type end struct {
	name, dev, key string
	pods           netip.Prefix
	host           *kernel.Host
}

// ends makes two gateways that are joined by a tunnel with keepalives from
// both, as the mesh plans it.
func ends(t *testing.T) (edge, cloud *end) {
	t.Helper()
	keys := keyring{}
	make1 := func(name, dev, pods string) *end {
		private, err := wgtypes.GeneratePrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		e := &end{name: name, dev: dev, key: private.PublicKey().String(), pods: netip.MustParsePrefix(pods)}
		keys[e.key] = private.String()
		log := slog.New(slog.DiscardHandler)
		e.host, err = kernel.Open(kernel.Options{
			Namespace: sandbox.Namespace(t, name), Keys: keys, Userspace: wire.UserspaceWireGuard{Log: log},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.host.Close() })
		return e
	}
	edge, cloud = make1("edge", "mag-wga", "10.42.3.0/24"), make1("cloud", "mag-wgb", "10.42.1.0/24")
	edge.join(t, 4500, cloud, 4501)
	cloud.join(t, 4501, edge, 4500)
	return edge, cloud
}

// join plans one end. The sockets of devices in this process are in its own
// namespace, so the ends talk over its loopback.
func (e *end) join(t *testing.T, port uint16, far *end, at uint16) {
	t.Helper()
	w := e.host.Own(plan.Owner{Name: "mesh", Proto: 203})
	endpoint := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at)
	_, err := w.Apply(t.Context(), plan.Plan{}, plan.Plan{
		Devices: []plan.Device{{Name: e.dev, Kind: plan.WireGuard, MTU: 1420, ListenPort: int(port), PublicKey: e.key}},
		Addrs:   []plan.Addr{{Dev: e.dev, Prefix: netip.PrefixFrom(e.pods.Addr(), 32)}},
		Peers:   []plan.Peer{{Dev: e.dev, PublicKey: far.key, Endpoint: endpoint, Keepalive: 20}},
		Allowed: []plan.Allowed{{Dev: e.dev, Prefix: far.pods, Peer: far.key}},
		Routes:  []plan.Route{{Dst: far.pods, Dev: e.dev}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// greet sends one hello to the far end's own address.
func (e *end) greet(t *testing.T, hello *wire.Hello, far *end) {
	t.Helper()
	sandbox.In(t, "/run/netns/"+e.name, func() error {
		return hello.Send(t.Context(), []netip.AddrPort{netip.AddrPortFrom(far.pods.Addr(), 9)})
	})
}

func (e *end) rx(t *testing.T) int64 {
	t.Helper()
	s, err := e.host.LinkState(e.dev)
	if err != nil || len(s.Peers) != 1 {
		t.Fatalf("%s: %+v, %v", e.name, s, err)
	}
	return s.Peers[0].Rx
}

// hears waits until more than before has come.
func (e *end) hears(t *testing.T, before int64, within time.Duration) {
	t.Helper()
	begin := time.Now()
	for e.rx(t) == before {
		if time.Since(begin) > within {
			t.Fatalf("%s heard nothing within %s", e.name, within)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("%s heard something after %s", e.name, time.Since(begin).Round(10*time.Millisecond))
}

// TestHelloIsHeardByBothEnds: one end says hello, and each hears the other,
// although nobody runs at the far end who would answer, and nothing there lets
// an ICMP out; once the cable is cut, neither does.
func TestHelloIsHeardByBothEnds(t *testing.T) {
	kernel.Need(t, kernel.FeatureTUN)
	edge, cloud := ends(t)
	var hello wire.Hello
	t.Cleanup(func() { hello.Close() })
	edge.greet(t, &hello, cloud)
	cloud.hears(t, 0, 5*time.Second)
	sandbox.Run(t, `
		ip netns exec cloud nft add table ip mute
		ip netns exec cloud nft add chain ip mute out { type filter hook output priority 0 ; }
		ip netns exec cloud nft add rule ip mute out ip protocol icmp drop`)
	time.Sleep(500 * time.Millisecond) // the handshake and its first packets are over
	atEdge, atCloud := edge.rx(t), cloud.rx(t)
	edge.greet(t, &hello, cloud)
	cloud.hears(t, atCloud, time.Second)
	edge.hears(t, atEdge, 11*time.Second) // WireGuard's own answer to data
	sandbox.Run(t, `
		nft add table ip cut
		nft add chain ip cut in { type filter hook input priority 0 ; }
		nft add rule ip cut in udp dport { 4500, 4501 } drop`)
	t.Cleanup(func() { sandbox.Run(t, "nft delete table ip cut") })
	atEdge, atCloud = edge.rx(t), cloud.rx(t)
	edge.greet(t, &hello, cloud)
	time.Sleep(time.Second)
	if edge.rx(t) != atEdge || cloud.rx(t) != atCloud {
		t.Error("something was heard through a cable that is cut")
	}
}
