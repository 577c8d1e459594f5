// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Finding is a condition that holds for a subject and is worth showing.
type Finding struct {
	Condition
	Subject string    // "loop vxlan"
	Detail  string    // what was seen last: an error's text, an age
	Since   time.Time // when it began to hold
}

func (f Finding) String() string {
	s := f.Severity.String() + " " + string(f.Code)
	if f.Subject != "" {
		s += " " + f.Subject
	}
	s += ": " + f.Title
	if f.Detail != "" {
		s += " (" + f.Detail + ")"
	}
	return s
}

// Tracker remembers which conditions hold and since when. The zero Tracker is
// not usable: call NewTracker. Its methods may be called from any goroutine.
type Tracker struct {
	known map[Code]Condition

	mu    sync.Mutex
	holds map[key]Finding
}

type key struct {
	code    Code
	subject string
}

// NewTracker returns a Tracker of those conditions, usually Conditions().
func NewTracker(conditions []Condition) *Tracker {
	t := &Tracker{known: map[Code]Condition{}, holds: map[key]Finding{}}
	for _, c := range conditions {
		t.known[c.Code] = c
	}
	return t
}

// Set says that the condition holds for subject at now. Saying it again only
// replaces the detail. A code that is not known panics: codes are constants.
func (t *Tracker) Set(code Code, subject, detail string, now time.Time) {
	c, ok := t.known[code]
	if !ok {
		panic("health: unknown condition " + string(code))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.holds[key{code, subject}]
	if !ok {
		f = Finding{Condition: c, Subject: subject, Since: now}
	}
	f.Detail = detail
	t.holds[key{code, subject}] = f
}

// Clear says that the condition does not hold for subject.
func (t *Tracker) Clear(code Code, subject string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.holds, key{code, subject})
}

// Shown returns what to show at now, worst first: what has lasted for its
// After and hides behind no condition that it depends on, however far up. A
// cause hides its effects as soon as it holds, even before it is shown itself:
// otherwise the effect with the shorter After would be shown first.
func (t *Tracker) Shown(now time.Time) []Finding {
	t.mu.Lock()
	defer t.mu.Unlock()
	active := map[Code]bool{}
	for k := range t.holds {
		active[k.code] = true
	}
	var out []Finding
	for _, f := range t.holds {
		if now.Sub(f.Since) >= f.After && !t.hidden(f.Condition, active) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

func (t *Tracker) hidden(c Condition, active map[Code]bool) bool {
	for _, cause := range c.DependsOn {
		if active[cause] || t.hidden(t.known[cause], active) {
			return true
		}
	}
	return false
}
