// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
)

// findingsShown is how many findings the text has before it only counts.
const findingsShown = 30

// printer writes the parts of a report.
type printer struct{ page.Page }

// Text lays the report out for people, in 80 columns.
func Text(r Report, colour bool) string {
	p := &printer{page.Page{Colour: colour}}
	for _, f := range r.Findings[:min(len(r.Findings), findingsShown)] {
		p.finding(f, r)
	}
	if more := len(r.Findings) - findingsShown; more > 0 {
		p.Line("and %d more findings; all are in -o json\n", more)
	}
	p.skipped(r.Checks)
	if r.Hidden > 0 {
		p.Line("%s hidden that the above explains", count(r.Hidden, "finding"))
	}
	p.verdict(r)
	return p.String()
}

func (p *printer) finding(f Finding, r Report) {
	word := strings.ToUpper(f.Severity)
	colour := map[string]page.Colour{"error": page.Red, "warning": page.Yellow, "info": page.Cyan}[f.Severity]
	p.Line("%s %s", p.Paint(colour, word), f.Subject)
	text := f.Text
	if f.Since != nil && !strings.Contains(text, "since") {
		text += " (for " + status.Age(r.LookedAt.Sub(*f.Since)) + ")"
	}
	const indent = "       "
	p.Fold("  what ", indent, text)
	p.Fold("  why  ", indent, f.Why)
	p.Fold("  do   ", indent, f.Do)
	p.Line("  see  %s\n", f.Runbook)
}

// skipped names the checks that were not made, those of one reason together.
func (p *printer) skipped(checks []Result) {
	names := map[string][]string{}
	var reasons []string
	for _, c := range checks {
		if c.Skipped != "" && names[c.Skipped] == nil {
			reasons = append(reasons, c.Skipped)
		}
		names[c.Skipped] = append(names[c.Skipped], c.Name)
	}
	for _, why := range reasons {
		p.Fold("not looked at: ", "  ", strings.Join(names[why], ", ")+": "+why)
	}
}

func (p *printer) verdict(r Report) {
	n := func(severity string) int {
		return len(slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Severity != severity }))
	}
	looked := len(slices.DeleteFunc(slices.Clone(r.Checks), func(c Result) bool { return c.Skipped != "" }))
	word := "ok"
	if looked == 0 {
		word = "nothing is known"
	}
	if !r.OK {
		word = p.Paint(page.Red, "not ok")
	}
	p.Line("%s: %s, %s, %s; %d of %d checks made", word,
		count(n("error"), "error"), count(n("warning"), "warning"), count(n("info"), "note"), looked, len(r.Checks))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
