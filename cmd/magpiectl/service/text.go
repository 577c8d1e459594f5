// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
)

// rowsShown is how many rows a table has.
const rowsShown = 40

// printer writes the parts of a report.
type printer struct{ page.Page }

// Text lays the report out for people, in 80 columns.
func Text(r Report, colour bool) string {
	p := &printer{page.Page{Colour: colour}}
	p.head(r)
	p.endpoints(r)
	p.pools(r)
	p.nodes(r)
	p.verdict(r)
	return p.String()
}

// under prints text beside a word, wrapped.
func (p *printer) under(word, text string) {
	for i, l := range page.Wrap(text, page.Width-9) {
		p.Line("%-8s %s", []string{word, ""}[min(i, 1)], l)
	}
}

func value(annotation string, v *string) string {
	if v == nil {
		return "no annotation " + annotation
	}
	return fmt.Sprintf("%s: %q", annotation, *v)
}

func (p *printer) head(r Report) {
	p.under("service", r.Namespace+"/"+r.Name+", "+r.Type)
	if r.Pin.Value != nil {
		p.under("pin", value(api.AnnotationTopology, r.Pin.Value))
		p.under("", r.Pin.Why)
	} else {
		p.under("pin", value(api.AnnotationTopology, nil)+": every node uses all endpoints")
	}
	switch {
	case len(r.Fence.Ports) == 0:
		p.under("fence", "there is no NodePort")
	default:
		p.under("fence", value(api.AnnotationListen, r.Fence.Value)+", NodePort "+strings.Trim(fmt.Sprint(r.Fence.Ports), "[]"))
	}
	nftables := r.Fence.By == FenceNFTables
	if nftables && len(r.Fence.Ports) > 0 {
		p.under("", "The agents close it in nftables, whatever kube-proxy reads.")
	}
	if r.Hub.On {
		p.under("hub", "on: "+r.Hub.Why)
	} else {
		p.under("hub", p.Mark("off", 0, true)+": "+r.Hub.Why)
		fenced := r.Fence.Value != nil && len(r.Fence.Ports) > 0
		switch {
		case nftables && r.Pin.Reach != "anywhere":
			p.under("", "So endpoints are what WOULD be seen. Now kube-proxy and CoreDNS use every endpoint.")
		case !nftables && (r.Pin.Reach != "anywhere" || fenced):
			p.under("", "So this is what WOULD hold. Now kube-proxy and CoreDNS use every endpoint, and every node opens every NodePort.")
		}
	}
	p.Line("")
}

func (p *printer) endpoints(r Report) {
	if len(r.Endpoints) == 0 {
		return
	}
	p.Line("%-28s %-20s %-20s %s", "ENDPOINT", "NODE", "POOL", "READY")
	for _, e := range r.Endpoints[:min(len(r.Endpoints), rowsShown)] {
		ready := "yes"
		switch {
		case e.Ending:
			ready = p.Mark("ends", 0, true)
		case !e.Ready:
			ready = p.Mark("no", 0, true)
		}
		p.Line("%-28s %-20s %-20s %s", page.CutFront(e.Address, 28), page.CutFront(dash(e.Node), 20), page.CutFront(dash(e.Pool), 20), ready)
	}
	p.more(len(r.Endpoints)-rowsShown, "endpoints")
}

func (p *printer) more(left int, what string) {
	if left > 0 {
		p.Line("and %d more %s; all are in -o json", left, what)
	}
	p.Line("")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (p *printer) pools(r Report) {
	if len(r.Pools) == 0 {
		return
	}
	p.Line("%-24s %6s %6s %6s  %s", "POOL", "NODES", "SEES", "READY", "NODEPORT")
	for _, x := range r.Pools[:min(len(r.Pools), rowsShown)] {
		p.Line("%-24s %6d %6d %s  %s", page.CutFront(orNone(x.Name), 24), x.Nodes, len(x.Sees),
			p.ready(x.Seen, x.Nodes > 0), nodePort(x.Seen, r))
		p.whys(x, r)
	}
	p.more(len(r.Pools)-rowsShown, "pools")
}

func (p *printer) ready(s Seen, matters bool) string {
	word := fmt.Sprintf("%6d", s.Ready)
	return p.Mark(word, 0, matters && s.Ready == 0)
}

func nodePort(s Seen, r Report) string {
	switch {
	case len(r.Fence.Ports) == 0:
		return "-"
	case s.Listens:
		return "open"
	}
	return "closed"
}

// whys prints the reasons of a row that the head does not give.
func (p *printer) whys(x Pool, r Report) {
	text := ""
	if len(r.Endpoints) > 0 && (x.Ready == 0 || x.Name == "" && r.Pin.Reach == "pool") {
		text = "sees: " + x.Why
	}
	if len(r.Fence.Ports) > 0 && r.Fence.Value != nil {
		text = strings.TrimPrefix(text+"; NodePort "+x.ListensWhy, "; ")
	}
	for _, l := range page.Wrap(text, page.Width-4) {
		if l != "" {
			p.Line("    %s", l)
		}
	}
}

// nodes prints those that see something else than the pool they stand under:
// all nodes where the pin is the node, and nodes in no pool.
func (p *printer) nodes(r Report) {
	rows := slices.DeleteFunc(slices.Clone(r.Nodes), func(n Node) bool {
		return r.Pin.Reach == "anywhere" || r.Pin.Reach == "pool" && n.Pool != ""
	})
	if len(rows) == 0 {
		return
	}
	p.Line("%-24s %-20s %s", "NODE", "POOL", "SEES")
	for _, n := range rows[:min(len(rows), rowsShown)] {
		p.Line("%-24s %-20s %s", page.CutFront(n.Name, 24), page.CutFront(dash(n.Pool), 20), page.CutFront(p.sees(n), 34))
	}
	p.more(len(rows)-rowsShown, "nodes")
}

func (p *printer) sees(n Node) string {
	switch len(n.Sees) {
	case 0:
		return "none"
	case 1:
		return n.Sees[0]
	}
	return fmt.Sprintf("%d endpoints, %d ready", len(n.Sees), n.Ready)
}

// verdict ends with what is wrong, in words, and what to do about it.
func (p *printer) verdict(r Report) {
	for _, h := range r.Hints {
		p.under("note", h)
	}
	for _, x := range r.Problems {
		p.under(p.Mark("WRONG", 8, true), x.Text)
		for i, l := range page.Wrap(x.Do, page.Width-12) {
			p.Line("         %s %s", []string{"->", "  "}[min(i, 1)], l)
		}
	}
	word := "ok"
	if !r.OK {
		word = p.Mark("not ok", 6, true)
	}
	served := 0
	for _, n := range r.Nodes {
		served += min(1, n.Ready+n.Ending)
	}
	would := ""
	if !r.Hub.On && r.Pin.Reach != "anywhere" {
		would = " with a hub"
	}
	p.Line("%s: %d of %d nodes are served%s", word, served, len(r.Nodes), would)
}
