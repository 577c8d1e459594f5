// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
)

// rowsShown is how many rows a table has before it keeps to those with a
// problem: a cluster of 5,000 nodes is not a glance.
const rowsShown = 40

// printer writes the parts of a report.
type printer struct{ page.Page }

// Text lays the report out for people, in 80 columns.
func Text(r Report, colour bool) string {
	p := &printer{page.Page{Colour: colour}}
	p.domains(r)
	p.gateways(r)
	p.links(r)
	p.pools(r)
	p.nodes(r)
	p.verdict(r)
	return p.String()
}

func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// shown returns the rows to print and how many are left out.
func shown[T any](all []T, bad func(T) bool) (rows []T, left int) {
	if len(all) <= rowsShown {
		return all, 0
	}
	for _, x := range all {
		if bad(x) && len(rows) < rowsShown {
			rows = append(rows, x)
		}
	}
	return rows, len(all) - len(rows)
}

func (p *printer) left(n int, what string) {
	if n > 0 {
		p.Line("and %d more %s; all are in -o json", n, what)
	}
	p.Line("")
}

func (p *printer) domains(r Report) {
	p.Line("%-22s %-8s %-9s %-18s %s", "DOMAIN", "KIND", "READY", "GATEWAY", "PODS")
	rows, left := shown(r.Domains, func(d Domain) bool { return d.Ready < d.Nodes || d.Gateway == "" })
	for _, d := range rows {
		kind := "edge"
		switch {
		case d.Cloud:
			kind = "cloud"
		case d.Private:
			kind = "private"
		}
		ready := p.Mark(fmt.Sprintf("%d/%d", d.Ready, d.Nodes), 9, d.Ready < d.Nodes)
		gateway := p.Mark(page.Cut(or(d.Gateway, "none"), 18), 18, d.Gateway == "")
		p.Line("%-22s %-8s %s %s %s", page.Cut(d.Name, 22), kind, ready, gateway, cidrs(d.CIDRs, 19))
		if len(d.NotReady) > 0 {
			for _, l := range page.Wrap("not Ready: "+r.ages(d.NotReady), page.Width-2) {
				p.Line("  %s", p.Mark(l, 0, true))
			}
		}
	}
	p.left(left, "domains")
}

// cidrs prints the first one and how many follow.
func cidrs(all []string, width int) string {
	switch len(all) {
	case 0:
		return "-"
	case 1:
		return page.Cut(all[0], width)
	}
	more := fmt.Sprintf(" +%d", len(all)-1)
	return page.Cut(all[0], width-len(more)) + more
}

func (p *printer) gateways(r Report) {
	if len(r.Gateways) == 0 {
		return
	}
	p.Line("%-18s %-22s %-6s %-4s %-6s %s", "GATEWAY", "DOMAIN", "ACTIVE", "KEY", "MTU", "ENDPOINT")
	rows, left := shown(r.Gateways, func(g Gateway) bool { return !g.Ready || !g.Key })
	for _, g := range rows {
		endpoint := "behind NAT"
		if len(g.Endpoints) > 0 {
			endpoint = g.Endpoints[0]
		}
		mtu := "-"
		if g.MTU > 0 {
			mtu = fmt.Sprint(g.MTU)
		}
		p.Line("%-18s %-22s %-6s %s %-6s %s", page.Cut(g.Node, 18), page.Cut(g.Domain, 22), yes(g.Active),
			p.Mark(yes(g.Key), 4, !g.Key), mtu, page.Cut(endpoint, 20))
	}
	p.left(left, "gateways")
}

func (p *printer) links(r Report) {
	if len(r.Links) == 0 {
		return
	}
	p.Line("%-18s %-18s %-8s %8s  %-9s %-5s %s", "LINK FROM", "TO", "STATE", "RTT", "PATH", "MTU", "CARRIES")
	rows, left := shown(r.Links, func(l Link) bool { return l.State != Live })
	for _, l := range rows {
		rtt := "-"
		if l.RTTMicros > 0 {
			rtt = fmt.Sprintf("%.1f ms", float64(l.RTTMicros)/1000)
		}
		p.Line("%-18s %-18s %s %8s  %-9s %-5d %d", page.Cut(l.Gateway, 18), page.Cut(l.Peer, 18), p.Mark(l.State, 8, l.State != Live),
			rtt, l.Path, l.MTU, len(l.Carries))
	}
	p.left(left, "links")
}

func (p *printer) pools(r Report) {
	if len(r.Pools) == 0 {
		return
	}
	p.Line("%-40s %-8s %s", "POOL", "TYPE", "READY")
	rows, left := shown(r.Pools, func(x Pool) bool { return x.Ready < x.Nodes })
	for _, x := range rows {
		p.Line("%-40s %-8s %s", page.Cut(x.Name, 40), strings.ToLower(x.Type), p.Mark(fmt.Sprintf("%d/%d", x.Ready, x.Nodes), 9, x.Ready < x.Nodes))
	}
	p.left(left, "pools")
}

func (p *printer) nodes(r Report) {
	p.Line("%-24s %-20s %-8s %s", "NODE", "DOMAIN", "READY", "PODS")
	rows, left := shown(r.Nodes, func(n Node) bool { return !n.Ready || !n.VTEP })
	for _, n := range rows {
		p.Line("%-24s %s %s %s", page.Cut(n.Name, 24), p.Mark(page.Cut(or(n.Domain, "none"), 20), 20, n.Domain == ""),
			p.Mark(r.readiness(n), 8, !n.Ready), cidrs(n.PodCIDRs, 25))
	}
	p.left(left, "nodes")
}

// verdict ends with what is wrong, in words, and what to do about it.
func (p *printer) verdict(r Report) {
	for _, h := range r.Hints {
		for i, l := range page.Wrap(h, page.Width-6) {
			p.Line("%-6s%s", []string{"note", ""}[min(i, 1)], l)
		}
	}
	for _, x := range r.Problems {
		p.Line("%s %s", p.Mark("WRONG", 5, true), x.Subject)
		for _, l := range page.Wrap(x.Text, page.Width-6) {
			p.Line("      %s", l)
		}
		for i, l := range page.Wrap(x.Do, page.Width-9) {
			p.Line("      %s %s", []string{"->", "  "}[min(i, 1)], l)
		}
	}
	if !r.OK {
		s := "s"
		if len(r.Problems) == 1 {
			s = ""
		}
		p.Line("%s: %d problem%s", p.Mark("not ok", 6, true), len(r.Problems), s)
		return
	}
	live := len(slices.DeleteFunc(slices.Clone(r.Links), func(l Link) bool { return l.State != Live }))
	p.Line("ok: %d nodes in %d domains, %d of %d links live", len(r.Nodes), len(r.Domains), live, len(r.Links))
}
