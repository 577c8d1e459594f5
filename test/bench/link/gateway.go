// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/bench/stage"
	"github.com/magpie-edge/magpie/tunnel"
	"github.com/magpie-edge/magpie/tunnel/mesh"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// end is one of the two ends of a tunnel, numbered 1 (cloud) and 2 (site).
type end struct {
	Number  int       `json:"number"`
	PodNS   string    `json:"podNS"`
	Private string    `json:"private"`
	Public  [2]string `json:"public"` // of both ends
}

func (e end) addr() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(e.Number)}) }
func (e end) pod() netip.Addr  { return netip.AddrFrom4([4]byte{10, 42, byte(e.Number), 2}) }
func (e end) inner() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 43, 0, byte(e.Number)})
}
func (e end) other() end { return end{Number: 3 - e.Number} }

func (e end) cidr() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(e.Number), 0}), 24)
}
func (e end) node() string { return fmt.Sprintf("gateway-%d", e.Number) }
func (e end) domain() string {
	if e.Number == 1 {
		return api.GatewayCloud
	}
	return api.GatewayPrefix + "site"
}

// mtu of the wire; the link's follows from it.
const wireMTU = 1500

func (e end) view() fleet.View {
	v := fleet.View{
		Self: fleet.Self{
			Node: e.node(), Domain: e.domain(), PodCIDRs: []netip.Prefix{e.cidr()},
			Underlay4: fleet.Underlay{Dev: wireName, Addr: e.addr(), MTU: wireMTU},
			LinkKey:   e.Public[e.Number-1],
		},
		Settings: fleet.Settings{
			ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")},
			VNI:          api.VNI, Port: api.PortVXLAN, Links: true,
		},
	}
	for i := range 2 {
		o := end{Number: i + 1}
		g := fleet.Gateway{Node: o.node(), PublicKey: e.Public[i], Active: true, MTU: v.LinkMTU()}
		if i == 0 {
			g.Endpoints = []netip.AddrPort{netip.AddrPortFrom(o.addr(), api.PortLinks)}
		}
		v.Domains = append(v.Domains, fleet.Domain{
			Name: o.domain(), Cloud: i == 0, Gateways: []fleet.Gateway{g},
			Nodes: []fleet.Node{{Name: o.node(), Addr4: o.addr(), PodCIDRs: []netip.Prefix{o.cidr()}}},
		})
	}
	v.Links, _ = tunnel.Choose(v)
	return v
}

// PrivateKey makes an end the kernel.KeySource of itself.
func (e end) PrivateKey(public string) (string, bool) {
	return e.Private, public == e.Public[e.Number-1]
}

// Preshared has none: the bare pair has none either.
func (end) Preshared(string) ([32]byte, bool) { return [32]byte{}, false }

// Gateway is the role of one of our ends: it answers "true" when it is made
// and carries packets until it is stopped.
func Gateway(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	var e end
	if err := json.Unmarshal(arg, &e); err != nil {
		return fmt.Errorf("decode end: %w", err)
	}
	if err := stage.Private(); err != nil {
		return err
	}
	host, err := kernel.Open(kernel.Options{
		Keys: e, Userspace: wire.UserspaceWireGuard{Log: slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		return err
	}
	defer host.Close()
	if err := e.apply(host); err != nil {
		return err
	}
	fmt.Fprintln(out, "true")
	<-stop
	return nil
}

func (e end) apply(host *kernel.Host) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	view := e.view()
	links, err := mesh.Plan(view)
	if err != nil {
		return fmt.Errorf("plan link: %w", err)
	}
	if len(links.Routes) != 1 {
		return fmt.Errorf("plan link: want one route, got %v; notes %v", links.Routes, links.Notes)
	}
	if _, err := host.Own(mesh.Owner).Apply(ctx, plan.Plan{}, links); err != nil {
		return fmt.Errorf("apply link: %w", err)
	}
	pod := cni.Pod{
		Key:   cni.Key{Container: e.node(), IfName: "eth0"},
		NetNS: e.PodNS, Addrs: []netip.Addr{e.pod()},
	}
	pods := plan.Merge(cni.Masquerade(view), cni.Plan(pod, view))
	if _, err := host.Own(cni.Owner).Apply(ctx, plan.Plan{}, pods); err != nil {
		return fmt.Errorf("apply pod: %w", err)
	}
	return nil
}
