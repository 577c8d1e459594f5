// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
)

// printer writes the parts of a report.
type printer struct{ page.Page }

// Text lays the report out for people.
func Text(r Report, colour bool) string {
	p := &printer{page.Page{Colour: colour}}
	p.nodes(r)
	for _, f := range families(r) {
		p.matrix(r, f)
	}
	p.links(r)
	p.failures(r)
	return p.String()
}

func families(r Report) []string {
	var out []string
	for _, p := range r.Pairs {
		if !slices.Contains(out, p.Family) {
			out = append(out, p.Family)
		}
	}
	return out
}

// nodes lists the nodes with what each reaches beside the others.
func (p *printer) nodes(r Report) {
	p.Line("%2s  %-16s %-16s %10s %10s %10s", "#", "NODE", "DOMAIN", "DNS", "SERVICE", "OUTSIDE")
	for i, n := range r.Nodes {
		dns, service, outside := p.pad("-", 10), p.pad("-", 10), p.pad("-", 10)
		if s, ok := reach(r.Service, n.Name); ok {
			both := s.TCP
			if s.UDP != nil && !s.UDP.OK {
				both = *s.UDP
			}
			dns, service = p.result(*s.DNS, 10), p.result(both, 10)
		}
		if o, ok := reach(r.Outside, n.Name); ok {
			outside = p.result(o.TCP, 10)
		}
		domain := n.Domain
		if domain == "" {
			domain = "-"
		}
		p.Line("%2d  %-16s %-16s %s %s %s", i+1, page.Cut(n.Name, 16), page.Cut(domain, 16), dns, service, outside)
	}
	p.Line("")
}

func reach(all []Reach, from string) (Reach, bool) {
	i := slices.IndexFunc(all, func(r Reach) bool { return r.From == from })
	if i < 0 {
		return Reach{}, false
	}
	return all[i], true
}

func (p *printer) pad(s string, width int) string { return fmt.Sprintf("%*s", width, s) }

func (p *printer) result(r Result, width int) string {
	if !r.OK {
		return p.Paint(page.Red, p.pad("FAIL", width))
	}
	return p.pad(millis(r.Micros)+" ms", width)
}

// cell is how wide a column of the matrix is: 12 of them and the row's name
// make 80.
const cell = 6

// matrix prints the pairs of one family: rows send, columns answer.
func (p *printer) matrix(r Report, family string) {
	p.Line("%s, ms and path, from row to column:", family)
	head := make([]string, len(r.Nodes))
	for i := range r.Nodes {
		head[i] = p.pad(fmt.Sprint(i+1), cell)
	}
	p.Line("%4s%s", "", strings.Join(head, ""))
	for i, from := range r.Nodes {
		row := make([]string, len(r.Nodes))
		for j, to := range r.Nodes {
			row[j] = p.cell(r, family, from.Name, to.Name)
		}
		p.Line("%4d%s", i+1, strings.Join(row, ""))
	}
	p.Line("")
}

func (p *printer) cell(r Report, family, from, to string) string {
	i := slices.IndexFunc(r.Pairs, func(x Pair) bool { return x.From == from && x.To == to && x.Family == family })
	if i < 0 {
		return p.pad("-", cell)
	}
	x := r.Pairs[i]
	switch {
	case !x.TCP.OK:
		return p.Paint(page.Red, p.pad("TCP!", cell))
	case !x.UDP.OK:
		return p.Paint(page.Red, p.pad("UDP!", cell))
	case !x.MTU.OK:
		return p.Paint(page.Red, p.pad("MTU!", cell))
	}
	return p.pad(millis(x.TCP.Micros)+letter(x.Path), cell)
}

// letter is a path in one character; "" if it is not known.
func letter(p *Path) string {
	switch {
	case p == nil || p.Problem != "":
		return "?"
	case p.Relay != "":
		return "r"
	}
	return p.Kind[:1]
}

// millis prints microseconds as milliseconds in at most four characters.
func millis(us int64) string {
	ms := float64(us) / 1000
	switch {
	case us < 10_000:
		return fmt.Sprintf("%.2f", ms)
	case us < 100_000:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.0f", ms)
	}
}

// linksShown is how many pairs of domains are listed: those of four domains.
const linksShown = 12

// links explains the letters and says, once a pair of domains, which nodes a
// link crosses and what it carries.
func (p *printer) links(r Report) {
	p.Line("s same node, o overlay, l link, r link by a relay, ? not known to the plans")
	domain := map[string]string{}
	for _, n := range r.Nodes {
		domain[n.Name] = n.Domain
	}
	seen := map[string]bool{}
	mtus := map[string][]int{}
	for _, x := range r.Pairs {
		if x.Path == nil || x.Path.Problem != "" {
			continue
		}
		mtus[x.Path.Kind] = append(mtus[x.Path.Kind], x.MTU.Bytes)
		ends := domain[x.From] + " to " + domain[x.To]
		if x.Path.Kind != "link" || seen[ends] {
			continue
		}
		seen[ends] = true
		if len(seen) <= linksShown {
			p.Line("  %s: %s", ends, x.Path)
		}
	}
	if more := len(seen) - linksShown; more > 0 {
		p.Line("  and %d more pairs of domains: see -o json", more)
	}
	for _, kind := range []string{"same-node", "overlay", "link"} {
		if m := mtus[kind]; len(m) > 0 && slices.Max(m) > 0 {
			p.Line("  largest packet by %s: %s bytes", kind, span(m))
		}
	}
	p.Line("")
}

// span prints the least and the largest, without those that were not measured.
func span(m []int) string {
	m = slices.DeleteFunc(slices.Clone(m), func(n int) bool { return n == 0 })
	if slices.Min(m) == slices.Max(m) {
		return fmt.Sprint(m[0])
	}
	return fmt.Sprintf("%d to %d", slices.Min(m), slices.Max(m))
}

// failures ends the report: each hole with its reason, then the verdict.
func (p *printer) failures(r Report) {
	for _, f := range r.Failures {
		who := strings.TrimSpace(strings.Join([]string{f.From, arrow(f), f.To, f.Family}, " "))
		p.Line("%s %s", p.Paint(page.Red, "FAIL"), strings.Join(strings.Fields(who), " "))
		for _, l := range page.Wrap(f.Reason, page.Width-7) {
			p.Line("       %s", l)
		}
	}
	if r.OK {
		p.Line("%s: %d nodes, every pair, TCP, UDP and full MTU, in %.0f s", p.Paint(page.Green, "ok"), len(r.Nodes), r.Seconds)
		return
	}
	p.Line("%s: %d of the probes failed, in %.0f s", p.Paint(page.Red, "not ok"), len(r.Failures), r.Seconds)
}

func arrow(f Failure) string {
	if f.From == "" || f.To == "" {
		return ""
	}
	return "->"
}
