// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
)

// Probed is what one node's prober was asked and what it found.
type Probed struct {
	Node    string
	Targets []probe.Target
	Report  probe.Report
	// Problem is why there is no report; "" if there is one.
	Problem string
}

// Pather says how a packet goes from a pod of one node to that of another; nil
// if nobody knows.
type Pather func(from, to string, src, dst netip.Addr) *Path

// Assemble turns what the probers found into a report. failed are those known
// before any probe: nodes without a server pod.
func Assemble(nodes []Node, probed []Probed, failed []Failure, path Pather) Report {
	r := Report{Nodes: nodes, Failures: append([]Failure{}, failed...), Pairs: []Pair{}, Service: []Reach{}, Outside: []Reach{}}
	a := assembler{report: &r, path: path, owner: map[string]string{}, addrs: map[string][]netip.Addr{}}
	for _, n := range nodes {
		for _, s := range n.Addrs {
			a.owner[s] = n.Name
			if addr, err := netip.ParseAddr(s); err == nil {
				a.addrs[n.Name] = append(a.addrs[n.Name], addr)
			}
		}
	}
	for _, p := range probed {
		if p.Problem != "" {
			a.fail(Failure{From: p.Node, Probe: "pod", Reason: p.Problem})
			continue
		}
		if len(p.Report.Checks) != len(p.Targets) {
			a.fail(Failure{From: p.Node, Probe: "pod", Reason: fmt.Sprintf(
				"its prober answered for %d targets of %d: is its image another version?", len(p.Report.Checks), len(p.Targets))})
			continue
		}
		for i, t := range p.Targets {
			a.add(p, t, p.Report.Checks[i])
		}
	}
	r.OK = len(r.Failures) == 0
	return r
}

type assembler struct {
	report *Report
	path   Pather
	owner  map[string]string // node by address of its server pod
	addrs  map[string][]netip.Addr
}

func (a *assembler) fail(f Failure) { a.report.Failures = append(a.report.Failures, f) }

func (a *assembler) add(p Probed, t probe.Target, c probe.Check) {
	result := func(micros int64, fault int) Result {
		return Result{OK: micros > 0, Micros: micros, Error: p.Report.Error(fault)}
	}
	tcp, udp, dns := result(c.TCP, c.TCPErr), result(c.UDP, c.UDPErr), result(c.DNS, c.DNSErr)
	switch t.Kind {
	case probe.KindOutside:
		a.report.Outside = append(a.report.Outside, Reach{From: p.Node, Target: t.Addr, TCP: tcp})
		if !tcp.OK {
			a.fail(Failure{From: p.Node, To: t.Addr, Probe: "outside", Reason: "TCP: " + tcp.Error})
		}
	case probe.KindName:
		a.report.Service = append(a.report.Service, Reach{From: p.Node, Target: t.Addr, DNS: &dns, TCP: tcp, UDP: &udp})
		switch {
		case !dns.OK:
			a.fail(Failure{From: p.Node, To: t.Addr, Probe: "dns", Reason: dns.Error})
		case !tcp.OK:
			a.fail(Failure{From: p.Node, To: t.Addr, Probe: "service", Reason: "TCP: " + tcp.Error})
		case !udp.OK:
			a.fail(Failure{From: p.Node, To: t.Addr, Probe: "service", Reason: "UDP: " + udp.Error})
		}
	default:
		mtu := MTU{OK: c.MTU > 0, Bytes: c.MTU, Passes: c.Passes, Error: p.Report.Error(c.MTUErr)}
		a.pair(p.Node, t, Pair{TCP: tcp, UDP: udp, MTU: mtu})
	}
}

func (a *assembler) pair(from string, t probe.Target, pair Pair) {
	host, _, _ := net.SplitHostPort(t.Addr)
	dst, _ := netip.ParseAddr(host)
	pair.From, pair.To, pair.Family = from, a.owner[host], family(dst)
	if a.path != nil {
		for _, src := range a.addrs[from] {
			if src.Is6() == dst.Is6() {
				pair.Path = a.path(from, pair.To, src, dst)
			}
		}
	}
	a.report.Pairs = append(a.report.Pairs, pair)
	fail := func(probe, reason string) {
		if pair.Path != nil && pair.Path.Problem != "" {
			reason += "; the plans say: " + pair.Path.Problem
		}
		a.fail(Failure{From: from, To: pair.To, Family: pair.Family, Probe: probe, Reason: reason})
	}
	// One hole, one line: what fails for the same reason is named together.
	switch {
	case !pair.TCP.OK && !pair.UDP.OK && pair.TCP.Error == pair.UDP.Error:
		fail("tcp", "TCP and UDP: "+pair.TCP.Error)
	case !pair.TCP.OK:
		fail("tcp", "TCP: "+pair.TCP.Error)
	case !pair.UDP.OK:
		fail("udp", "UDP: "+pair.UDP.Error)
	case !pair.MTU.OK:
		reason := "MTU: " + pair.MTU.Error
		if pair.MTU.Passes > 0 {
			reason += fmt.Sprintf("; %d bytes pass", pair.MTU.Passes)
		}
		fail("mtu", reason)
	}
}

func family(a netip.Addr) string {
	if a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

// String is a path in few words: "link a-1 > cloud-1 > b-1, relayed by gw-cloud".
func (p Path) String() string {
	s := p.Kind
	if len(p.Nodes) > 1 {
		s += " " + strings.Join(p.Nodes, " > ")
	}
	if p.Relay != "" {
		s += ", relayed by " + p.Relay
	}
	return s
}
