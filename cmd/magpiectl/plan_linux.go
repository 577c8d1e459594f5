// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/internal/walk"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
)

// compare looks at what one owner has in this machine's kernel and returns the
// steps to what it wants, and what could not be seen from here. Nothing is
// written.
func compare(ctx context.Context, p walk.Part) ([]planStep, []string, error) {
	if os.Geteuid() != 0 {
		return nil, nil, errors.New("comparing with the kernel needs root; or name a node with --node, or a file with --from")
	}
	host, err := kernel.Open(kernel.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer host.Close()
	have, err := host.Own(p.Owner, kernel.WithSysctls(func() []plan.SysctlKey {
		var keys []plan.SysctlKey
		for _, s := range p.Plan.Sysctls {
			keys = append(keys, s.Key())
		}
		return keys
	})).Observe(ctx)
	if err != nil {
		return nil, nil, err
	}
	want := p.Plan
	if p.Owner == cni.Owner {
		have = withoutPods(have)
	}
	unseen := []string{}
	for _, d := range hidden(have) {
		have, want = withoutWireGuard(have, d), withoutWireGuard(want, d)
		unseen = append(unseen, "peers and allowed IPs of "+d+": they are in the agent, whose socket is in its container")
	}
	steps := []planStep{}
	for _, s := range plan.Diff(have, want) {
		step := planStep{Op: string(s.Op), Item: s.Item.String()}
		if s.Was != nil {
			step.Was = s.Was.String()
		}
		steps = append(steps, step)
	}
	return steps, unseen, nil
}

// hidden returns WireGuard devices that some process serves, for the kernel sees
// their carrier, and whose configuration cannot be read: where WireGuard is not
// in the kernel it is in the agent, and so is the socket one asks.
func hidden(have plan.Plan) []string {
	var out []string
	for _, d := range have.Devices {
		carrier, err := os.ReadFile("/sys/class/net/" + d.Name + "/carrier")
		served := err == nil && strings.TrimSpace(string(carrier)) == "1"
		if d.Kind != plan.WireGuard && strings.HasPrefix(string(d.Kind), string(plan.WireGuard)) && served {
			out = append(out, d.Name)
		}
	}
	return out
}

// withoutWireGuard takes out what is asked of a WireGuard device itself.
func withoutWireGuard(p plan.Plan, dev string) plan.Plan {
	p.Devices = slices.DeleteFunc(slices.Clone(p.Devices), func(d plan.Device) bool { return d.Name == dev })
	p.Peers = slices.DeleteFunc(slices.Clone(p.Peers), func(x plan.Peer) bool { return x.Dev == dev })
	p.Allowed = slices.DeleteFunc(slices.Clone(p.Allowed), func(a plan.Allowed) bool { return a.Dev == dev })
	return p
}

// withoutPods takes out what belongs to single pods, which Part does not hold.
func withoutPods(p plan.Plan) plan.Plan {
	pods := func(dev string) bool {
		return strings.HasPrefix(dev, api.DevicePodPrefix) || strings.HasPrefix(dev, api.DeviceShapePrefix)
	}
	p.Devices = slices.DeleteFunc(p.Devices, func(d plan.Device) bool { return d.NS != "" || pods(d.Name) })
	p.Addrs = slices.DeleteFunc(p.Addrs, func(a plan.Addr) bool { return a.NS != "" || pods(a.Dev) })
	p.Neighs = slices.DeleteFunc(p.Neighs, func(n plan.Neigh) bool { return n.NS != "" || pods(n.Dev) })
	p.Routes = slices.DeleteFunc(p.Routes, func(r plan.Route) bool { return r.NS != "" || pods(r.Dev) })
	p.Shapes = slices.DeleteFunc(p.Shapes, func(s plan.Shape) bool { return s.NS != "" || pods(s.Dev) })
	p.Members = slices.DeleteFunc(p.Members, func(m plan.Member) bool { return m.Value != "" || strings.Contains(m.Elem, " . ") })
	return p
}
