// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/bench/stage"
	"github.com/magpie-edge/magpie/vxlan"
)

// node is one node of either layout, numbered 1 and 2.
type node struct {
	Number int    `json:"number"`
	PodNS  string `json:"podNS"`
}

func (n node) name() string        { return fmt.Sprintf("node-%d", n.Number) }
func (n node) other() node         { return node{Number: 3 - n.Number} }
func (n node) addr() netip.Addr    { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n.Number)}) }
func (n node) pod() netip.Addr     { return netip.AddrFrom4([4]byte{10, 42, byte(n.Number), 2}) }
func (n node) bridge() netip.Addr  { return netip.AddrFrom4([4]byte{10, 42, byte(n.Number), 1}) }
func (n node) network() netip.Addr { return netip.AddrFrom4([4]byte{10, 42, byte(n.Number), 0}) }
func (n node) cidr() netip.Prefix  { return netip.PrefixFrom(n.network(), 24) }

// clusterCIDR holds both pod CIDRs.
var clusterCIDR = netip.MustParsePrefix("10.42.0.0/16")

// underlay is what both layouts call the wire's end on a node.
const underlay, underlayMTU = "wire", 1500

func (n node) view() fleet.View {
	v := fleet.View{
		Self: fleet.Self{
			Node: n.name(), Domain: api.GatewayCloud, PodCIDRs: []netip.Prefix{n.cidr()},
			Underlay4: fleet.Underlay{Dev: underlay, Addr: n.addr(), MTU: underlayMTU},
			VTEPMAC:   fleet.MAC(n.name(), "vxlan4"),
		},
		Settings: fleet.Settings{
			ClusterCIDRs: []netip.Prefix{clusterCIDR}, VNI: api.VNI, Port: api.PortVXLAN,
			FastPath: kernel.FeatureFastPath.Probe() == nil, // as the agent's "auto"
		},
	}
	home := fleet.Domain{Name: api.GatewayCloud, Cloud: true}
	for i := range 2 {
		m := node{Number: i + 1}
		home.Nodes = append(home.Nodes, fleet.Node{
			Name: m.name(), Addr4: m.addr(), PodCIDRs: []netip.Prefix{m.cidr()}, VTEPMAC: fleet.MAC(m.name(), "vxlan4"),
		})
	}
	v.Domains = []fleet.Domain{home}
	return v
}

// Ours is the role that makes one of our nodes: it answers "true" when the
// node is made, and leaves it to its namespace.
func Ours(arg json.RawMessage, out io.Writer, _ <-chan struct{}) error {
	var n node
	if err := json.Unmarshal(arg, &n); err != nil {
		return fmt.Errorf("decode node: %w", err)
	}
	if err := stage.Private(); err != nil {
		return err
	}
	host, err := kernel.Open(kernel.Options{})
	if err != nil {
		return err
	}
	defer host.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	view := n.view()
	over, err := vxlan.Plan(view)
	if err != nil {
		return fmt.Errorf("plan overlay: %w", err)
	}
	pod := cni.Pod{
		Key:   cni.Key{Container: n.name(), IfName: "eth0"},
		NetNS: n.PodNS, Addrs: []netip.Addr{n.pod()},
	}
	pods := plan.Merge(cni.Masquerade(view), cni.Plan(pod, view))
	if _, err := host.Own(vxlan.Owner).Apply(ctx, plan.Plan{}, over); err != nil {
		return fmt.Errorf("apply overlay: %w", err)
	}
	if _, err := host.Own(cni.Owner).Apply(ctx, plan.Plan{}, pods); err != nil {
		return fmt.Errorf("apply pod: %w", err)
	}
	fmt.Fprintln(out, "true")
	return nil
}
