// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/plan"
)

// adoptee is a pod that the kernel has and the ledger has lost.
type adoptee struct {
	plan  plan.Plan // its host side, as found
	addrs []netip.Addr
}

// who holds an adoptee's addresses, in the ledger's words.
func (adoptee) who(dev string) string { return "an unknown pod behind " + dev }

// Recover brings kernel and ledger together after a start, before any call is
// served: an ADD that was cut short is undone, and if the journal was damaged
// the pods it no longer knows are found in the kernel and left in peace. If the
// kernel cannot be read, Run tries again.
func (s *Server) Recover(ctx context.Context) error {
	start := s.cfg.Now()
	s.gate.Lock()
	defer s.gate.Unlock()
	have, err := s.cfg.World.Observe(ctx)
	if err != nil {
		return fmt.Errorf("recover pods: %w", err)
	}
	var errs []error
	damaged := s.cfg.Ledger.Damaged()
	for _, pod := range s.cfg.Ledger.Pods(false) {
		// A damaged journal may have lost the commit and not the pod.
		if damaged && hasDevice(have, pod.HostDevice()) {
			errs = append(errs, s.cfg.Ledger.Commit(pod.Key))
			continue
		}
		err := s.remove(ctx, pod, s.found(pod, true))
		s.report("RECOVER", pod, start, err)
		errs = append(errs, err)
	}
	if damaged {
		s.adopt(have)
		s.report("RECOVER", Pod{}, start, fmt.Errorf(
			"the ledger was damaged: %d pods are known from it, %d were found in the kernel", len(s.Pods()), len(s.adopted)))
	}
	s.recovered.Store(true)
	return errors.Join(errs...)
}

func hasDevice(p plan.Plan, name string) bool {
	return slices.ContainsFunc(p.Devices, func(d plan.Device) bool { return d.NS == "" && d.Name == name })
}

// adopt takes pods that only the kernel knows into the plan as they are, so
// that they live on and nobody else gets their addresses.
func (s *Server) adopt(have plan.Plan) {
	known := map[string]bool{}
	for _, p := range s.Pods() {
		known[p.HostDevice()] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range have.Devices {
		if d.NS != "" || known[d.Name] || !strings.HasPrefix(d.Name, api.DevicePodPrefix) {
			continue
		}
		a := adopteeOf(have, d)
		s.adopted[d.Name] = a
		s.cfg.Ledger.Adopt(a.addrs, a.who(d.Name))
	}
}

// adopteeOf collects the host side of one pod: what hangs on its device, and the
// hostPorts that lead to its addresses.
func adopteeOf(have plan.Plan, d plan.Device) adoptee {
	var a adoptee
	ifb := api.DeviceShapePrefix + strings.TrimPrefix(d.Name, api.DevicePodPrefix)
	a.plan.Devices = drop(have.Devices, func(x plan.Device) bool { return x.NS != "" || x.Name != d.Name && x.Name != ifb })
	a.plan.Neighs = drop(have.Neighs, func(n plan.Neigh) bool { return n.NS != "" || n.Dev != d.Name })
	a.plan.Routes = drop(have.Routes, func(r plan.Route) bool { return r.NS != "" || r.Dev != d.Name })
	a.plan.Shapes = drop(have.Shapes, func(x plan.Shape) bool { return x.Dev != d.Name && x.Dev != ifb })
	a.plan.Programs = drop(have.Programs, func(x plan.Program) bool { return x.Dev != d.Name })
	a.plan.Shortcuts = drop(have.Shortcuts, func(x plan.Shortcut) bool { return x.Dev != d.Name })
	for _, r := range a.plan.Routes {
		a.addrs = append(a.addrs, r.Dst.Addr())
	}
	a.plan.Members = drop(have.Members, func(m plan.Member) bool {
		return !slices.ContainsFunc(a.addrs, func(x netip.Addr) bool {
			return strings.HasPrefix(m.Value, x.String()+" ") || strings.HasPrefix(m.Elem, x.String()+" . ") && m.Value == ""
		})
	})
	return a
}

// release forgets an adopted pod that is gone.
func (s *Server) release(dev string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.adopted[dev]
	if !ok {
		return
	}
	delete(s.adopted, dev)
	s.cfg.Ledger.Abandon(a.addrs, a.who(dev), s.cfg.Now())
}
