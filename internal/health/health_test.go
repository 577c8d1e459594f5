// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/internal/health"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func shown(t *health.Tracker, after time.Duration) []string {
	var out []string
	for _, f := range t.Shown(start.Add(after)) {
		out = append(out, strings.TrimSpace(string(f.Code)+" "+f.Subject))
	}
	return out
}

func tracker() *health.Tracker {
	return health.NewTracker([]health.Condition{
		{Code: "cause", Severity: health.Warning, After: 20 * time.Second},
		{Code: "effect", Severity: health.Error, DependsOn: []health.Code{"cause"}, After: 10 * time.Second},
		{Code: "far", Severity: health.Info, DependsOn: []health.Code{"effect"}},
	})
}

func TestShownOnlyAfterItLasted(t *testing.T) {
	tr := tracker()
	tr.Set("effect", "a", "once", start)
	if got := shown(tr, 9*time.Second); got != nil {
		t.Fatalf("shown too soon: %v", got)
	}
	tr.Set("effect", "a", "again", start.Add(9*time.Second))
	if diff := cmp.Diff([]string{"effect a"}, shown(tr, 10*time.Second)); diff != "" {
		t.Fatalf("saying it again must not start the wait again (-want +got):\n%s", diff)
	}
	if d := tr.Shown(start.Add(10 * time.Second))[0].Detail; d != "again" {
		t.Fatalf("detail %q, want the last one", d)
	}
	tr.Clear("effect", "a")
	tr.Set("effect", "a", "", start.Add(11*time.Second))
	if got := shown(tr, 12*time.Second); got != nil {
		t.Fatalf("what was cleared must wait again: %v", got)
	}
}

func TestEffectHidesBehindItsCauses(t *testing.T) {
	tr := tracker()
	tr.Set("cause", "", "", start)
	tr.Set("effect", "a", "", start)
	tr.Set("far", "b", "", start)
	if got := shown(tr, 15*time.Second); got != nil {
		t.Fatalf("an effect was shown before its cause: %v", got)
	}
	if diff := cmp.Diff([]string{"cause"}, shown(tr, 20*time.Second)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	tr.Clear("effect", "a")
	if diff := cmp.Diff([]string{"cause"}, shown(tr, 20*time.Second)); diff != "" {
		t.Fatalf("a cause hides what is two steps away, too (-want +got):\n%s", diff)
	}
	tr.Clear("cause", "")
	if diff := cmp.Diff([]string{"far b"}, shown(tr, 20*time.Second)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

func TestWorstFirstThenByName(t *testing.T) {
	tr := health.NewTracker([]health.Condition{
		{Code: "b", Severity: health.Warning}, {Code: "c", Severity: health.Error}, {Code: "a", Severity: health.Warning},
	})
	for _, s := range []string{"b y", "c z", "b x", "a z"} {
		code, subject, _ := strings.Cut(s, " ")
		tr.Set(health.Code(code), subject, "", start)
	}
	if diff := cmp.Diff([]string{"c z", "a z", "b x", "b y"}, shown(tr, 0)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// TestConditionsAreWellFormed checks the list itself: unique codes, titles
// without a full stop, causes before effects (which also rules out cycles).
func TestConditionsAreWellFormed(t *testing.T) {
	var seen []health.Code
	for _, c := range health.All() {
		if slices.Contains(seen, c.Code) {
			t.Errorf("%s stands twice", c.Code)
		}
		for _, d := range c.DependsOn {
			if !slices.Contains(seen, d) {
				t.Errorf("%s depends on %s, which does not stand before it", c.Code, d)
			}
		}
		if !strings.HasSuffix(c.Why, ".") {
			t.Errorf("%s does not say why it matters, in a sentence", c.Code)
		}
		if c.Title == "" || strings.HasSuffix(c.Title, ".") || strings.Trim(string(c.Code), "abcdefghijklmnopqrstuvwxyz-") != "" {
			t.Errorf("%s: bad code or title %q", c.Code, c.Title)
		}
		seen = append(seen, c.Code)
	}
}

func TestFindingPrintsOneLine(t *testing.T) {
	tr := health.NewTracker(health.Conditions())
	tr.Set(health.LoopFailing, "loop vxlan", "add route 10.42.1.0/24: no buffer space", start)
	got := tr.Shown(start.Add(time.Minute))[0].String()
	want := "error loop-failing loop vxlan: a loop cannot bring the node to its plan (add route 10.42.1.0/24: no buffer space)"
	if got != want {
		t.Fatalf("\n got %s\nwant %s", got, want)
	}
}

func TestRepairsTellAFightFromTheOddRepair(t *testing.T) {
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var change, odd, fight health.Repairs
	for s := range 100 {
		if change.Round(at(s), 5, true) {
			t.Fatal("a fleet that changes every second was taken for a foreign writer")
		}
		if odd.Round(at(30*s), 1, false) {
			t.Fatal("two repairs a minute were taken for a foreign writer")
		}
	}
	for s := 0; s < 40; s += 10 {
		if got, want := fight.Round(at(s), 1, false), s == 30; got != want {
			t.Fatalf("after %d s: %v, want %v", s, got, want)
		}
	}
	if fight.Round(at(95), 0, false) {
		t.Fatal("a minute without repairs did not end it")
	}
}
