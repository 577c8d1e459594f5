// SPDX-License-Identifier: Apache-2.0

package sessions

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
)

// rowsShown is how many nodes the table has before it keeps to those with a
// problem.
const rowsShown = 40

// printer writes the parts of a report.
type printer struct{ page.Page }

// Text lays the report out for people, in 80 columns.
func Text(r Report, colour bool) string {
	p := &printer{page.Page{Colour: colour}}
	p.instances(r)
	p.nodes(r)
	p.verdict(r)
	return p.String()
}

func (p *printer) instances(r Report) {
	if len(r.Instances) == 0 {
		return
	}
	p.Line("%-31s %-14s %-9s %8s %7s %s", "GATEWAY", "ON", "STATE", "SESSIONS", "STREAMS", "CERT")
	for _, i := range r.Instances {
		state := "ready"
		switch {
		case !i.Ready:
			state = "not ready"
		case i.Error != "":
			state = "silent"
		case i.Draining:
			state = "draining"
		}
		_, name, _ := strings.Cut(i.Pod, "/")
		sessions, streams := fmt.Sprint(i.Sessions), fmt.Sprint(i.Streams)
		if i.Error != "" {
			sessions, streams = "?", "?"
		}
		p.Line("%-31s %-14s %s %8s %7s %s", page.CutFront(name, 31), page.CutFront(i.Host, 14), p.Mark(state, 9, state != "ready"),
			sessions, streams, until(i.CertificateUntil, r.now))
	}
	p.Line("")
}

func until(t *time.Time, now time.Time) string {
	switch {
	case t == nil || t.IsZero():
		return "-"
	case t.Before(now):
		return "ended"
	}
	return status.Age(t.Sub(now))
}

func (p *printer) nodes(r Report) {
	rows := slices.DeleteFunc(slices.Clone(r.Nodes), func(n Node) bool { return !n.Dials && len(n.Sessions) == 0 })
	all := len(rows)
	if all > rowsShown {
		rows = slices.DeleteFunc(rows, func(n Node) bool { return len(n.Sessions) > 0 })
		rows = rows[:min(len(rows), rowsShown)]
	}
	if all == 0 {
		return
	}
	p.Line("%-22s %-18s %-9s %7s %8s %-5s %s", "NODE", "DOMAIN", "SESSIONS", "STREAMS", "RTT", "AGE", "CERT")
	for _, n := range rows {
		p.node(n, r)
	}
	if left := all - len(rows); left > 0 {
		p.Line("and %d more nodes; all are in -o json", left)
	}
	p.Line("")
}

func (p *printer) node(n Node, r Report) {
	streams, rtt, oldest := 0, int64(0), time.Time{}
	var end time.Time
	for _, s := range n.Sessions {
		streams += s.Streams
		if rtt == 0 || s.RTTMicros > 0 && s.RTTMicros < rtt {
			rtt = s.RTTMicros
		}
		if oldest.IsZero() || s.Since.Before(oldest) {
			oldest = s.Since
		}
		if s.CertificateUntil.After(end) {
			end = s.CertificateUntil
		}
	}
	age, latency := "-", "-"
	if !oldest.IsZero() {
		age = status.Age(r.now.Sub(oldest))
	}
	if rtt > 0 {
		latency = fmt.Sprintf("%.1f ms", float64(rtt)/1000)
	}
	have := "?"
	if asked := r.asked(); asked > 0 {
		have = fmt.Sprintf("%d of %d", len(n.Sessions), asked)
	}
	p.Line("%-22s %-18s %s %7d %8s %-5s %s", page.CutFront(n.Name, 22), page.CutFront(n.Domain, 18),
		p.Mark(have, 9, len(n.Sessions) == 0), streams, latency, age, until(&end, r.now))
}

func (p *printer) problems(word string, bad bool, all []Problem) {
	for _, x := range all {
		p.Line("%s %s", p.Mark(word, 5, bad), x.Subject)
		for _, l := range page.Wrap(x.Text, page.Width-6) {
			p.Line("      %s", l)
		}
		for i, l := range page.Wrap(x.Do, page.Width-9) {
			p.Line("      %s %s", []string{"->", "  "}[min(i, 1)], l)
		}
	}
}

// verdict ends with what is wrong, in words, and what to do about it.
func (p *printer) verdict(r Report) {
	if r.Off != "" {
		p.Line("the O&M tunnel is off: %s", r.Off)
		return
	}
	p.problems("note ", false, r.Notes)
	p.problems("WRONG", true, r.Problems)
	dial, have := 0, 0
	for _, n := range r.Nodes {
		if n.Dials {
			dial++
			have += min(1, len(n.Sessions))
		}
	}
	word := "ok"
	if !r.OK {
		word = p.Mark("not ok", 6, true)
	}
	p.Line("%s: %d of %d nodes connected, %d gateway instances", word, have, dial, len(r.Instances))
}
