// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"slices"
	"time"

	"github.com/magpie-edge/magpie/internal/health"
)

// Report is what the doctor found. Its JSON is documented in
// docs/reference/magpiectl-json.md; fields are added, never changed.
type Report struct {
	// OK is true if no finding is an error.
	OK bool `json:"ok"`
	// Findings are sorted, the worst first; what another one explains is not
	// among them.
	Findings []Finding `json:"findings"`
	// Hidden counts findings that another one explains.
	Hidden int `json:"hidden"`
	// Checks were made in this order.
	Checks []Result `json:"checks"`
	// LookedAt is when.
	LookedAt time.Time `json:"lookedAt"`
}

// Finding is one thing that is wrong.
type Finding struct {
	// Code is constant; docs/runbooks has a page of that name.
	Code string `json:"code"`
	// Severity is "error", "warning" or "info".
	Severity string `json:"severity"`
	// Subject is what it is about: "node b-1", "link a-1 to cloud-1", "cluster".
	Subject string `json:"subject"`
	// Text says what is wrong.
	Text string `json:"text"`
	// Why it matters.
	Why string `json:"why"`
	// Do is the one thing to do.
	Do string `json:"do"`
	// Runbook is the path of its page in the repository.
	Runbook string `json:"runbook"`
	// Since is when it began, where that is known.
	Since *time.Time `json:"since,omitempty"`

	about []string // other subjects: a cause that holds for one of them explains it, too
}

// Result is how one check went.
type Result struct {
	Name string `json:"name"`
	// Findings counts what it found.
	Findings int `json:"findings"`
	// Skipped is why it could not look; "" if it did.
	Skipped string `json:"skipped"`
}

// Check is one thing the doctor looks at in a P: a Patient or a Machine.
type Check[P any] interface {
	// Name is a few words for what is looked at.
	Name() string
	// Look returns what is wrong, in any order. The second result is why it
	// cannot tell, "" if it can.
	Look(p P) (found []Finding, skipped string)
}

// Examine makes all checks.
func Examine[P any](p P, at time.Time, checks ...Check[P]) Report {
	r := Report{Findings: []Finding{}, Checks: []Result{}, LookedAt: at.UTC()}
	var all []Finding
	for _, c := range checks {
		found, skipped := c.Look(p)
		all = append(all, found...)
		r.Checks = append(r.Checks, Result{Name: c.Name(), Findings: len(found), Skipped: skipped})
	}
	for i, f := range all {
		same := func(g Finding) bool { return g.Code == f.Code && g.Subject == f.Subject }
		switch {
		case slices.ContainsFunc(all[:i], same): // an earlier check has said it
		case explained(f, all):
			r.Hidden++
		default:
			r.Findings = append(r.Findings, f)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	r.OK = !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == health.Error.String() })
	return r
}

// rank sorts errors first, and among them those on which most others depend.
func rank(f Finding) int {
	severity := map[string]int{"error": 0, "warning": 1000, "info": 2000}[f.Severity]
	i := slices.IndexFunc(known, func(c health.Condition) bool { return string(c.Code) == f.Code })
	if i < 0 {
		i = len(known)
	}
	return severity + i
}

// explained reports whether a cause of f holds for what f is about.
func explained(f Finding, all []Finding) bool {
	causes := causesOf(f.Code, nil)
	return slices.ContainsFunc(all, func(c Finding) bool {
		if !slices.Contains(causes, c.Code) {
			return false
		}
		return c.Subject == f.Subject || c.Subject == everything || slices.Contains(f.about, c.Subject)
	})
}

// everything is the subject of what concerns every node.
const everything = "cluster"

// known are all conditions, those that explain the most first.
var known = slices.Concat(health.Cluster(), health.Services(), health.Tunnel(), health.Machine(), health.Conditions())

// causesOf returns the codes that explain code, however far up.
func causesOf(code string, seen []string) []string {
	var depends []health.Code
	for _, c := range known {
		if string(c.Code) == code {
			depends = c.DependsOn
		}
	}
	depends = slices.Concat(depends, notes[code].DependsOn)
	for _, d := range depends {
		if !slices.Contains(seen, string(d)) {
			seen = causesOf(string(d), append(seen, string(d)))
		}
	}
	return seen
}

// find makes a finding of a condition.
func find(code health.Code, subject, text, do string, about ...string) Finding {
	i := slices.IndexFunc(known, func(c health.Condition) bool { return c.Code == code })
	c := known[i]
	return Finding{
		Code: string(code), Severity: c.Severity.String(), Subject: subject, Text: text, Why: c.Why, Do: do,
		Runbook: c.Runbook(), about: about,
	}
}
