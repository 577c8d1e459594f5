// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
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
// steps to what it wants. Nothing is written.
func compare(ctx context.Context, p walk.Part) ([]planStep, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("comparing with the kernel needs root; or name a node with --node, or a file with --from")
	}
	host, err := kernel.Open(kernel.Options{})
	if err != nil {
		return nil, err
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
		return nil, err
	}
	if p.Owner == cni.Owner {
		have = withoutPods(have)
	}
	steps := []planStep{}
	for _, s := range plan.Diff(have, p.Plan) {
		step := planStep{Op: string(s.Op), Item: s.Item.String()}
		if s.Was != nil {
			step.Was = s.Was.String()
		}
		steps = append(steps, step)
	}
	return steps, nil
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
