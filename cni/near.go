// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"slices"
	"time"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// lookInside is how often a round looks into the pods' own namespaces while
// pods come and go. A look costs about a millisecond a pod, and every ADD and
// DEL would pay for the looks that the one before it has caused. With
// RepairGap it keeps the promise of a second.
const lookInside = 600 * time.Millisecond

// observe is the Observe of a round: near, in the host's namespace only, or
// full. A near one takes for granted what is inside of a pod whose pair is
// there. It follows a full one closely, because verbs were at work since, and
// asks for another round: what has woken it may have been in a pod.
func (s *Server) observe(ctx context.Context) (plan.Plan, error) {
	at := s.cfg.Now()
	s.mu.Lock()
	near := s.cfg.Near != nil && len(s.touched) > 0 && at.Sub(s.inside) < lookInside
	s.mu.Unlock()
	view, known := s.cfg.View()
	if near && known {
		s.cfg.Wake()
		have, err := s.cfg.Near.Observe(ctx)
		return presume(have, s.Pods(), view), err
	}
	have, err := s.cfg.World.Observe(ctx)
	if err == nil {
		s.mu.Lock()
		s.inside = at
		s.mu.Unlock()
	}
	return have, err
}

// doubt makes the next round a full one.
func (s *Server) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside = time.Time{}
}

// presume adds what is inside of the pods to what a near look has seen.
func presume(have plan.Plan, pods []Pod, view fleet.View) plan.Plan {
	made := make(map[string]plan.Plan, len(pods))
	for _, pod := range pods {
		made[pod.HostDevice()] = Plan(pod, view)
	}
	have.Devices = slices.Clone(have.Devices)
	for i := range have.Devices {
		d := &have.Devices[i]
		p, ok := made[d.Name]
		if !ok || d.NS != "" || d.PeerName != "" {
			continue
		}
		pair := p.Devices[0]
		d.PeerNS, d.PeerName, d.PeerMAC = pair.PeerNS, pair.PeerName, pair.PeerMAC
		have.Addrs = append(have.Addrs, drop(p.Addrs, func(a plan.Addr) bool { return a.NS == "" })...)
		have.Neighs = append(have.Neighs, drop(p.Neighs, func(n plan.Neigh) bool { return n.NS == "" })...)
		have.Routes = append(have.Routes, drop(p.Routes, func(r plan.Route) bool { return r.NS == "" })...)
		have.Sysctls = append(have.Sysctls, drop(p.Sysctls, func(x plan.Sysctl) bool { return x.NS == "" })...)
	}
	return have
}

// NearSettings is Settings without those inside of pods. It is for the
// kernel.WithSysctls of Config.Near.
func (s *Server) NearSettings() []plan.SysctlKey {
	return drop(s.Settings(), func(k plan.SysctlKey) bool { return k.NS != "" })
}
