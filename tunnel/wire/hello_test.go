// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"log/slog"
	"net/netip"
	"strconv"
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
	at             netip.AddrPort // where its WireGuard listens
	socket         string         // the namespace in which it does, as ip calls it
	pods           netip.Prefix
	host           *kernel.Host
}

// ends makes two gateways that are joined by a tunnel with keepalives from
// both, as the mesh plans it. The sockets of a device in the kernel are in its
// namespace, and a cable joins those; the sockets of devices in this process are
// in its own, so the ends talk over its loopback.
func ends(t *testing.T, driver kernel.Driver) (edge, cloud *end) {
	t.Helper()
	keys := keyring{}
	make1 := func(name, dev, pods, at string) *end {
		private, err := wgtypes.GeneratePrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		e := &end{name: name, dev: dev, key: private.PublicKey().String(), pods: netip.MustParsePrefix(pods), at: netip.MustParseAddrPort(at), socket: name}
		keys[e.key] = private.String()
		log := slog.New(slog.DiscardHandler)
		e.host, err = kernel.Open(kernel.Options{
			Namespace: sandbox.Namespace(t, name), Keys: keys, Driver: driver, Userspace: wire.UserspaceWireGuard{Log: log},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.host.Close() })
		return e
	}
	if driver == kernel.DriverUserspace {
		edge, cloud = make1("edge", "mag-wga", "10.42.3.0/24", "127.0.0.1:4500"), make1("cloud", "mag-wgb", "10.42.1.0/24", "127.0.0.1:4501")
		edge.socket, cloud.socket = "", ""
	} else {
		edge, cloud = make1("edge", "mag-wga", "10.42.3.0/24", "203.0.113.1:4500"), make1("cloud", "mag-wgb", "10.42.1.0/24", "203.0.113.2:4501")
		sandbox.Run(t, `
			ip -n edge link add eth0 type veth peer name eth0 netns cloud
			ip -n edge addr add 203.0.113.1/24 dev eth0
			ip -n cloud addr add 203.0.113.2/24 dev eth0
			ip -n edge link set eth0 up
			ip -n cloud link set eth0 up`)
	}
	edge.join(t, cloud)
	cloud.join(t, edge)
	return edge, cloud
}

// join plans one end.
func (e *end) join(t *testing.T, far *end) {
	t.Helper()
	w := e.host.Own(plan.Owner{Name: "mesh", Proto: 203})
	_, err := w.Apply(t.Context(), plan.Plan{}, plan.Plan{
		Devices: []plan.Device{{Name: e.dev, Kind: plan.WireGuard, MTU: 1420, ListenPort: int(e.at.Port()), PublicKey: e.key}},
		Addrs:   []plan.Addr{{Dev: e.dev, Prefix: netip.PrefixFrom(e.pods.Addr(), 32)}},
		Peers:   []plan.Peer{{Dev: e.dev, PublicKey: far.key, Endpoint: far.at, Keepalive: 20}},
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

// cut lets nothing more in where the end listens.
func (e *end) cut(t *testing.T) {
	t.Helper()
	nft, table := "nft ", " ip cut-"+e.name
	if e.socket != "" {
		nft = "ip netns exec " + e.socket + " nft "
	}
	sandbox.Run(t, nft+"add table"+table)
	sandbox.Run(t, nft+"add chain"+table+" in { type filter hook input priority 0 ; }")
	sandbox.Run(t, nft+"add rule"+table+" in udp dport "+strconv.Itoa(int(e.at.Port()))+" drop")
	t.Cleanup(func() { sandbox.Run(t, nft+"delete table"+table) })
}

// TestHelloIsHeardByBothEnds: one end says hello, and each hears the other,
// although nobody runs at the far end who would answer, and nothing there lets
// an ICMP out; once the cable is cut, neither does.
func TestHelloIsHeardByBothEnds(t *testing.T) {
	kernel.Need(t, kernel.FeatureTUN)
	for _, driver := range kernel.Drivers(t) {
		t.Run(string(driver), func(t *testing.T) { testHello(t, driver) })
	}
}

func testHello(t *testing.T, driver kernel.Driver) {
	t.Helper()
	edge, cloud := ends(t, driver)
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
	cloud.hears(t, atCloud, 5*time.Second)
	edge.hears(t, atEdge, 11*time.Second) // WireGuard's own answer to data
	edge.cut(t)
	cloud.cut(t)
	atEdge, atCloud = edge.rx(t), cloud.rx(t)
	edge.greet(t, &hello, cloud)
	time.Sleep(time.Second)
	if edge.rx(t) != atEdge || cloud.rx(t) != atCloud {
		t.Error("something was heard through a cable that is cut")
	}
}
