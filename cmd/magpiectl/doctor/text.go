// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/cmd/magpiectl/matrix"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
)

// findingsShown is how many findings the text has before it only counts.
const findingsShown = 30

// Text lays the report out for people, in 80 columns.
func Text(r Report, colour bool) string {
	p := &printer{colour: colour}
	for _, f := range r.Findings[:min(len(r.Findings), findingsShown)] {
		p.finding(f, r)
	}
	if more := len(r.Findings) - findingsShown; more > 0 {
		p.line("and %d more findings; all are in -o json\n", more)
	}
	p.skipped(r.Checks)
	if r.Hidden > 0 {
		p.line("%s hidden that the above explains", count(r.Hidden, "finding"))
	}
	p.verdict(r)
	return p.b.String()
}

type printer struct {
	b      strings.Builder
	colour bool
}

func (p *printer) line(format string, args ...any) {
	p.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// fold prints text after a head, and further lines after an indent.
func (p *printer) fold(head, indent, text string) {
	for i, l := range matrix.Wrap(text, matrix.Width-max(len(head), len(indent))) {
		p.line("%s%s", []string{head, indent}[min(i, 1)], l)
	}
}

func (p *printer) finding(f Finding, r Report) {
	word := strings.ToUpper(f.Severity)
	if p.colour {
		word = map[string]string{"error": "\x1b[31m", "warning": "\x1b[33m", "info": "\x1b[36m"}[f.Severity] + word + "\x1b[0m"
	}
	p.line("%s %s", word, f.Subject)
	text := f.Text
	if f.Since != nil && !strings.Contains(text, "since") {
		text += " (for " + status.Age(r.LookedAt.Sub(*f.Since)) + ")"
	}
	const indent = "       "
	p.fold("  what ", indent, text)
	p.fold("  why  ", indent, f.Why)
	p.fold("  do   ", indent, f.Do)
	p.line("  see  %s\n", f.Runbook)
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
		p.fold("not looked at: ", "  ", strings.Join(names[why], ", ")+": "+why)
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
		word = "not ok"
		if p.colour {
			word = "\x1b[31m" + word + "\x1b[0m"
		}
	}
	p.line("%s: %s, %s, %s; %d of %d checks made", word,
		count(n("error"), "error"), count(n("warning"), "warning"), count(n("info"), "note"), looked, len(r.Checks))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
