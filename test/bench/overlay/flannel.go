// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// Names and values of Flannel and of its CNI configuration.
// Source: flannel pkg/backend/vxlan, pkg/trafficmngr/iptables; the conflist of
// its manifest (bridge with isDefaultGateway and hairpinMode).
const (
	flannelDevice = "flannel.1"
	flannelBridge = "cni0"
	flannelMTU    = underlayMTU - api.OverheadVXLAN4
)

// flannel makes one node as flanneld and the bridge plugin do.
func flannel(ctx context.Context, n node, at, pod *stage.Space) error {
	podNS, err := pod.FD()
	if err != nil {
		return err
	}
	defer podNS.Close()
	if err := at.Do(func() error { return flannelNode(n, int(podNS.Fd())) }); err != nil {
		return fmt.Errorf("flannel node %d: %w", n.Number, err)
	}
	if err := pod.Do(func() error { return flannelPod(n) }); err != nil {
		return fmt.Errorf("flannel pod %d: %w", n.Number, err)
	}
	return at.Input(ctx, flannelRules(n), "iptables-restore")
}

// flannelNode makes the devices and entries on the host.
func flannelNode(n node, podNS int) error {
	for _, s := range []string{"ipv4/ip_forward", "bridge/bridge-nf-call-iptables"} {
		if err := os.WriteFile("/proc/sys/net/"+s, []byte("1"), 0); err != nil {
			return fmt.Errorf("set %s: %w", s, err)
		}
	}
	wire, err := netlink.LinkByName(underlay)
	if err != nil {
		return fmt.Errorf("find wire: %w", err)
	}
	vtep := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: flannelDevice, MTU: flannelMTU, HardwareAddr: mac(n)},
		VxlanId:   api.VNI, VtepDevIndex: wire.Attrs().Index, SrcAddr: n.addr().AsSlice(), Port: api.PortVXLAN,
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: flannelBridge, MTU: flannelMTU}}
	port := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "veth0", MTU: flannelMTU},
		PeerName:  "eth0", PeerNamespace: netlink.NsFd(podNS),
	}
	for _, l := range []netlink.Link{vtep, bridge, port} {
		if err := errors.Join(netlink.LinkAdd(l), netlink.LinkSetUp(l)); err != nil {
			return fmt.Errorf("make %s: %w", l.Attrs().Name, err)
		}
	}
	return errors.Join(
		netlink.LinkSetMaster(port, bridge),
		netlink.LinkSetHairpin(port, true),
		address(bridge, n.bridge(), 24),
		address(vtep, n.network(), 32),
		flannelPeer(vtep.Index, n.other()),
	)
}

// flannelPeer is what flanneld programs for one other node.
func flannelPeer(vtep int, o node) error {
	return errors.Join(
		netlink.NeighSet(&netlink.Neigh{
			LinkIndex: vtep, State: netlink.NUD_PERMANENT, IP: o.network().AsSlice(), HardwareAddr: mac(o),
		}),
		netlink.NeighSet(&netlink.Neigh{
			LinkIndex: vtep, State: netlink.NUD_PERMANENT, Family: 7 /* AF_BRIDGE */, Flags: netlink.NTF_SELF,
			IP: o.addr().AsSlice(), HardwareAddr: mac(o),
		}),
		netlink.RouteReplace(&netlink.Route{
			LinkIndex: vtep, Dst: ipNet(o.cidr()), Gw: o.network().AsSlice(), Flags: int(netlink.FLAG_ONLINK),
		}),
	)
}

func flannelPod(n node) error {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	return errors.Join(
		netlink.LinkSetUp(eth0),
		address(eth0, n.pod(), 24),
		netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: n.bridge().AsSlice()}),
	)
}

// flannelRules are the chains of flanneld in its order.
func flannelRules(n node) string {
	masq := []string{
		"-m mark --mark 0x4000/0x4000 -j RETURN",
		"-s NODE -d CLUSTER -j RETURN",
		"-s CLUSTER -d NODE -j RETURN",
		"! -s CLUSTER -d NODE -j RETURN",
		"-s CLUSTER ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
		"! -s CLUSTER -d CLUSTER -j MASQUERADE --random-fully",
	}
	var b strings.Builder
	b.WriteString("*nat\n:FLANNEL-POSTRTG - [0:0]\n-A POSTROUTING -j FLANNEL-POSTRTG\n")
	for _, r := range masq {
		b.WriteString("-A FLANNEL-POSTRTG " + r + "\n")
	}
	b.WriteString("COMMIT\n*filter\n:FLANNEL-FWD - [0:0]\n-A FORWARD -j FLANNEL-FWD\n")
	b.WriteString("-A FLANNEL-FWD -s CLUSTER -j ACCEPT\n-A FLANNEL-FWD -d CLUSTER -j ACCEPT\nCOMMIT\n")
	return strings.NewReplacer("NODE", n.cidr().String(), "CLUSTER", clusterCIDR.String()).Replace(b.String())
}

func mac(n node) net.HardwareAddr {
	m, _ := net.ParseMAC(fleet.MAC(n.name(), "vxlan4")) // made by us
	return m
}

func address(l netlink.Link, a netip.Addr, bits int) error {
	p := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: p}); err != nil {
		return fmt.Errorf("add address %s to %s: %w", p, l.Attrs().Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
