// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// NoteFastPathOff says that the kernel cannot do what the fast path needs. Pods
// reach each other as before, for more CPU time.
const NoteFastPathOff = "fast-path-off"

// shortcuts lets established connections of the pod go past the host's IP
// stack. A pod with a limit has none: its packets must queue where that is.
func shortcuts(p *plan.Plan, pod Pod, view fleet.View) {
	if !view.Settings.FastPath || pod.Ingress.Rate != 0 || pod.Egress.Rate != 0 {
		return
	}
	dev := pod.HostDevice()
	p.Programs = append(p.Programs, plan.Program{Dev: dev, Name: plan.FromPod})
	for _, a := range pod.Addrs {
		p.Shortcuts = append(p.Shortcuts, plan.Shortcut{Addr: a, Dev: dev, MAC: pod.podMAC(), From: pod.hostMAC()})
	}
}

// slow returns p without the fast path. A pod works without, so an ADD neither
// depends on it nor waits for it, which would be half a millisecond.
func slow(p plan.Plan) plan.Plan {
	p.Programs, p.Shortcuts = nil, nil
	return p
}

// fast returns the fast path of those pods in a plan that are there now: of
// pods that came since the last round. Who writes it holds the gate.
func (s *Server) fast(want plan.Plan, pods []Pod) plan.Plan {
	here := map[string]bool{}
	for _, pod := range pods {
		if _, committed, there := s.cfg.Ledger.Get(pod.Key); committed && there {
			here[pod.HostDevice()] = true
		}
	}
	return plan.Plan{
		Programs:  drop(want.Programs, func(x plan.Program) bool { return !here[x.Dev] }),
		Shortcuts: drop(want.Shortcuts, func(x plan.Shortcut) bool { return !here[x.Dev] }),
	}
}

// fastPath is what the fast path wants of the node. Conntrack does not see what
// goes past it, so what it knows of a connection's window is old when it sees a
// packet again, the last one at the latest: it must not call such a packet
// invalid, which many firewalls drop.
func fastPath(p *plan.Plan, view fleet.View) {
	if why := view.Settings.FastPathLacks; why != "" {
		p.Notes = append(p.Notes, plan.Note{
			Subject: "node " + view.Self.Node, Code: NoteFastPathOff,
			Text: "pods reach each other through the host's IP stack: " + why,
		})
	}
	if !view.Settings.FastPath {
		return
	}
	for _, name := range []string{"nf_conntrack_tcp_be_liberal", "nf_conntrack_tcp_ignore_invalid_rst"} {
		p.Sysctls = append(p.Sysctls, plan.Sysctl{Name: "net/netfilter/" + name, Value: "1"})
	}
}
