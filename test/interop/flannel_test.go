// SPDX-License-Identifier: Apache-2.0

// Package interop_test holds our nodes against the systems they must live
// beside.
package interop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/vxlan"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) } //nolint:forbidigo // TestMain

const flannelMAC4, flannelMAC6 = "4e:7c:11:22:33:44", "4e:7c:11:22:33:66"

// underlay makes two hosts on one wire, both families.
func underlay(t *testing.T) (ours string) {
	t.Helper()
	ours = sandbox.Namespace(t, "ours")
	sandbox.Namespace(t, "theirs")
	sandbox.Run(t, `
		ip -n ours link add eth0 type veth peer name eth0 netns theirs
		ip -n ours link set eth0 up
		ip -n theirs link set eth0 up
		ip -n ours addr add 192.168.50.1/24 dev eth0
		ip -n theirs addr add 192.168.50.2/24 dev eth0
		ip -n ours addr add fd50::1/64 dev eth0 nodad
		ip -n theirs addr add fd50::2/64 dev eth0 nodad`)
	return ours
}

// view is what our node knows: itself, and a neighbour that runs flanneld.
func view() fleet.View {
	cidrs := func(texts ...string) (out []netip.Prefix) {
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	return fleet.View{
		Self: fleet.Self{
			Node: "ours", Domain: "gw-cloud", PodCIDRs: cidrs("10.42.1.0/24", "fd42:0:0:1::/64"),
			Underlay4: fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr("192.168.50.1"), MTU: 1500},
			Underlay6: fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr("fd50::1"), MTU: 1500},
			VTEPMAC:   fleet.MAC("ours", "vxlan4"), VTEPMAC6: fleet.MAC("ours", "vxlan6"),
		},
		Settings: fleet.Settings{ClusterCIDRs: cidrs("10.42.0.0/16", "fd42::/48"), VNI: api.VNI, Port: api.PortVXLAN},
		Domains: []fleet.Domain{{Name: "gw-cloud", Cloud: true, Nodes: []fleet.Node{
			{Name: "ours", Addr4: netip.MustParseAddr("192.168.50.1"), PodCIDRs: cidrs("10.42.1.0/24")},
			{
				Name: "theirs", PodCIDRs: cidrs("10.42.2.0/24", "fd42:0:0:2::/64"),
				Addr4: netip.MustParseAddr("192.168.50.2"), Addr6: netip.MustParseAddr("fd50::2"),
				VTEPMAC: flannelMAC4, VTEPMAC6: flannelMAC6,
			},
		}}},
	}
}

// likeFlanneld makes the kernel objects that flanneld 0.28 makes for a neighbour
// with these annotations: device, neighbour, FDB entry and onlink route, in
// both families, and a bridge with one pod.
// Source: flannel pkg/backend/vxlan/{device,vxlan_network}.go.
func likeFlanneld(t *testing.T, neighbour map[string]string) (pod string) {
	t.Helper()
	type backend struct{ VtepMAC string }
	var four, six backend
	for key, b := range map[string]*backend{api.FlannelBackendData: &four, api.FlannelBackendV6Data: &six} {
		if err := json.Unmarshal([]byte(neighbour[key]), b); err != nil {
			t.Fatalf("annotation %s: %v", key, err)
		}
	}
	script := strings.NewReplacer(
		"{mac4}", four.VtepMAC, "{mac6}", six.VtepMAC,
		"{ip4}", neighbour[api.FlannelPublicIP], "{ip6}", neighbour[api.FlannelPublicIPv6],
		"{own4}", flannelMAC4, "{own6}", flannelMAC6,
	).Replace(`
		ip -n theirs link add flannel.1 address {own4} type vxlan id 1 local 192.168.50.2 dev eth0 nolearning dstport 8472
		ip -n theirs link set flannel.1 mtu 1450 up
		ip -n theirs addr add 10.42.2.0/32 dev flannel.1
		ip -n theirs neigh replace 10.42.1.0 lladdr {mac4} dev flannel.1 nud permanent
		bridge -n theirs fdb replace {mac4} dev flannel.1 dst {ip4} self permanent
		ip -n theirs route replace 10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink
		ip -n theirs link add flannel-v6.1 address {own6} type vxlan id 1 local fd50::2 dev eth0 nolearning dstport 8472
		ip -n theirs link set flannel-v6.1 mtu 1430 up
		ip -n theirs addr add fd42:0:0:2::/128 dev flannel-v6.1 nodad
		ip -n theirs neigh replace fd42:0:0:1:: lladdr {mac6} dev flannel-v6.1 nud permanent
		bridge -n theirs fdb replace {mac6} dev flannel-v6.1 dst {ip6} self permanent
		ip -n theirs route replace fd42:0:0:1::/64 via fd42:0:0:1:: dev flannel-v6.1 onlink`)
	sandbox.Run(t, script)
	return bridged(t)
}

// bridged makes a pod of theirs, as Flannel's CNI plugin and the bridge plugin do.
func bridged(t *testing.T) (pod string) {
	t.Helper()
	pod = sandbox.Namespace(t, "theirpod")
	sandbox.Run(t, `
		ip -n theirs link add cni0 type bridge
		ip netns exec theirs sysctl -q -w net.ipv6.conf.cni0.accept_dad=0
		ip -n theirs link set cni0 mtu 1430 up
		ip -n theirs addr add 10.42.2.1/24 dev cni0
		ip -n theirs addr add fd42:0:0:2::1/64 dev cni0 nodad
		ip -n theirs link add veth0 mtu 1430 type veth peer name eth0 netns theirpod mtu 1430
		ip -n theirs link set veth0 master cni0 up
		ip -n theirpod link set eth0 up
		ip -n theirpod addr add 10.42.2.5/24 dev eth0
		ip -n theirpod addr add fd42:0:0:2::5/64 dev eth0 nodad
		ip -n theirpod route add default via 10.42.2.1
		ip -n theirpod route add default via fd42:0:0:2::1
		ip netns exec theirs sysctl -q -w net.ipv4.ip_forward=1
		ip netns exec theirs sysctl -q -w net.ipv6.conf.all.forwarding=1`)
	return pod
}

// magpie makes our side with the product's own planners and door.
func magpie(t *testing.T, ns string, v fleet.View) (pod string) {
	t.Helper()
	host, err := kernel.Open(kernel.Options{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	pod = sandbox.Namespace(t, "ourpod")
	overlay, err := vxlan.Plan(v)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, host, vxlan.Owner, overlay)
	plumbing := cni.Plan(cni.Pod{
		Key: cni.Key{Container: "c1", IfName: "eth0"}, NetNS: pod,
		Addrs: []netip.Addr{netip.MustParseAddr("10.42.1.5"), netip.MustParseAddr("fd42:0:0:1::5")},
	}, v)
	apply(t, host, cni.Owner, plan.Merge(plumbing, cni.Masquerade(v)))
	return pod
}

func apply(t *testing.T, host *kernel.Host, owner plan.Owner, want plan.Plan) {
	t.Helper()
	world := host.Own(owner)
	have, err := world.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := world.Apply(t.Context(), have, want); err != nil {
		t.Fatal(err)
	}
}

// TestFlannelPeer exchanges pod traffic with a node that has what flanneld
// makes out of our annotations, both ways and in both families, up to the full
// MTU, and without a change of address on the way.
func TestFlannelPeer(t *testing.T) {
	ours := underlay(t)
	v := view()
	theirs := likeFlanneld(t, vxlan.Annotations(v, nil))
	exchange(t, magpie(t, ours, v), theirs)
}

// exchange sends packets between the two pods, both ways and in both families.
func exchange(t *testing.T, pod, theirs string) {
	t.Helper()
	for _, way := range []struct{ name, from, to, src, dst string }{
		{"ours to theirs IPv4", pod, theirs, "10.42.1.5", "10.42.2.5"},
		{"theirs to ours IPv4", theirs, pod, "10.42.2.5", "10.42.1.5"},
		{"ours to theirs IPv6", pod, theirs, "fd42:0:0:1::5", "fd42:0:0:2::5"},
		{"theirs to ours IPv6", theirs, pod, "fd42:0:0:2::5", "fd42:0:0:1::5"},
	} {
		t.Run(way.name, func(t *testing.T) {
			addr := netip.AddrPortFrom(netip.MustParseAddr(way.dst), 7000).String()
			sandbox.Echo(t, way.to, addr)
			for _, probe := range []struct {
				network string
				size    int
			}{{"udp", 64}, {"udp", 1430 - 48}, {"tcp", 1 << 20}} {
				from, err := sandbox.Ask(t, way.from, probe.network, addr, probe.size)
				if err != nil {
					t.Errorf("%s, %d bytes: %v", probe.network, probe.size, err)
					continue
				}
				if got := netip.MustParseAddrPort(from).Addr().String(); got != way.src {
					t.Errorf("%s left with %s, want the pod's %s", probe.network, got, way.src)
				}
			}
		})
	}
}

// TestOuterPacketsAreNotTracked: conntrack knows what pods do and not the
// packets that carry it. What merely has the overlay's port, a Service of that
// number say, is tracked as anything else is.
func TestOuterPacketsAreNotTracked(t *testing.T) {
	ours := underlay(t)
	v := view()
	theirs := likeFlanneld(t, vxlan.Annotations(v, nil))
	pod := magpie(t, ours, v)
	for _, addr := range []string{"10.42.2.5:7000", "[fd42:0:0:2::5]:7000"} {
		sandbox.Echo(t, theirs, addr)
		if _, err := sandbox.Ask(t, pod, "udp", addr, 64); err != nil {
			t.Fatal(err)
		}
	}
	if seen := sandbox.Run(t, "ip netns exec ours conntrack -L -p udp --dport 7000"); !strings.Contains(seen, "dst=10.42.2.5") {
		t.Errorf("what pods do is not tracked:\n%s", seen)
	}
	const outer = `
		ip netns exec ours conntrack -L -f ipv4 -p udp --dport 8472
		ip netns exec ours conntrack -L -f ipv6 -p udp --dport 8472`
	if seen := sandbox.Run(t, outer); strings.Contains(seen, "dport=8472") {
		t.Errorf("outer packets are tracked:\n%s", seen)
	}
	sandbox.In(t, ours, func() error {
		c, err := net.Dial("udp", "192.168.50.2:8472") //nolint:noctx // local
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("no VXLAN, but long enough to be some"))
		return errors.Join(err, c.Close())
	})
	if seen := sandbox.Run(t, outer); !strings.Contains(seen, "dst=192.168.50.2") {
		t.Errorf("a datagram to port 8472 that is no VXLAN is not tracked:\n%s", seen)
	}
}

// TestTakeOverFlannel moves a node: what flanneld left is taken over with its
// MAC, so peers that know it need not learn another.
func TestTakeOverFlannel(t *testing.T) {
	ours := underlay(t)
	v := view()
	const old = "4e:7c:aa:bb:cc:dd"
	v.Self.VTEPMAC = old // the agent reads it from the annotation or the device
	sandbox.Run(t, fmt.Sprintf(`
		ip -n ours link add flannel.1 address %s type vxlan id 1 local 192.168.50.1 dev eth0 nolearning dstport 8472
		ip -n ours link set flannel.1 mtu 1450 up
		ip -n ours addr add 10.42.1.0/32 dev flannel.1`, old))
	theirs := likeFlanneld(t, vxlan.Annotations(v, nil))
	pod := magpie(t, ours, v)
	sandbox.Echo(t, theirs, "10.42.2.5:7000")
	if _, err := sandbox.Ask(t, pod, "tcp", "10.42.2.5:7000", 1000); err != nil {
		t.Fatal(err)
	}
	links := sandbox.Run(t, "ip -n ours -o link")
	if strings.Contains(links, "flannel.1") || !strings.Contains(links, api.DeviceVXLAN4) || !strings.Contains(links, old) {
		t.Errorf("not taken over:\n%s", links)
	}
}
