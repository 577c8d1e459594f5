// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// TestViewConditions walks an agent through an API server that comes late,
// goes and comes back; what is shown is what /conditions prints.
func TestViewConditions(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	c := newConditions(func() time.Time { return now })
	var lost time.Time
	fresh, stale := &fleet.View{ReadAt: now}, &fleet.View{ReadAt: now.Add(-time.Hour), Stale: true}
	refused := errors.New("dial tcp 10.0.0.1:6443: connect: connection refused")
	steps := []struct {
		name  string
		after time.Duration
		view  *fleet.View
		err   error // of reading the fleet
		cause error // why the server does not answer; nil if it does
		want  string
	}{
		{"starts without server and file", 0, nil, reconcile.ErrNotReady, refused, ""},
		{
			"still nothing", 2 * time.Minute, nil, reconcile.ErrNotReady, refused,
			"error not-synced: the fleet is not known yet and none is saved; nothing is set up (" + refused.Error() + ")\n",
		},
		{"server comes", time.Second, fresh, nil, nil, ""},
		{"a day passes", 24 * time.Hour, fresh, nil, nil, ""},
		{"server goes", 0, fresh, nil, refused, ""},
		{"too soon to say", 20 * time.Second, fresh, nil, refused, ""},
		{
			"it lasts", 20 * time.Second, fresh, nil, refused,
			"warning api-unreachable: the API server does not answer; running on the last known fleet " +
				"(no answer since 2026-11-23T09:02:01Z: " + refused.Error() + ")\n",
		},
		{"server is back", time.Second, fresh, nil, nil, ""},
		{"restarts without it", time.Second, stale, nil, nil, ""},
		{
			"goes on from the file", time.Minute, stale, nil, nil,
			"warning api-unreachable: the API server does not answer; running on the last known fleet " +
				"(the fleet is as of 2026-11-22T08:00:00Z)\n",
		},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		switch {
		case s.cause == nil:
			lost = time.Time{}
		case lost.IsZero():
			lost = now
		}
		c.view(s.view, s.err, lost, s.cause)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, nil)
		if diff := cmp.Diff(s.want, w.Body.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

// TestReportedConditions: what the API is told changes when a condition comes
// or goes, and not with every error's text; that the API server is away is not
// told to the API server.
func TestReportedConditions(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 500, time.UTC)
	c := newConditions(func() time.Time { return now })
	fail := func(text string) { c.hold(health.LoopFailing, "loop vxlan", true, text) }
	fail("try 1")
	c.tracker.Set(health.APIUnreachable, "", "no answer", now.Add(-time.Hour))
	if got := c.reported(); got != nil {
		t.Errorf("told too soon: %v", got)
	}
	c.tracker.Clear(health.APIUnreachable, "")
	now = now.Add(time.Minute)
	long := strings.Repeat("ü", 300)
	fail(long)
	first := c.reported()
	if len(first) != 1 || first[0].Code != "loop-failing" || first[0].Severity != "error" ||
		first[0].Since.Format(time.RFC3339Nano) != "2026-11-22T09:00:00Z" ||
		len(first[0].Detail) > 512 || !utf8.ValidString(first[0].Detail) || !strings.HasPrefix(long, strings.TrimSuffix(first[0].Detail, "...")) {
		t.Errorf("%+v", first)
	}
	now = now.Add(time.Minute)
	fail("try 3")
	if diff := cmp.Diff(first, c.reported()); diff != "" {
		t.Errorf("another text of the same trouble is a write:\n%s", diff)
	}
	c.hold(health.LoopFailing, "loop vxlan", false, "")
	if got := c.reported(); got != nil {
		t.Errorf("it is over: %v", got)
	}
}

func TestReportedNotesAreTheNodesOwn(t *testing.T) {
	v := newVitals(slog.New(slog.DiscardHandler))
	v.note("vxlan", []plan.Note{{Subject: "node b-1", Code: "no-vtep-mac"}, {Subject: "node a-1", Code: "mtu-clamped", Text: "1450"}})
	v.note("mesh", []plan.Note{{Subject: "node a-1", Code: "key-not-current"}})
	v.note("tunnel", []plan.Note{{Subject: "domain gw-shop-b", Code: "no-gateway"}})
	want := []v1alpha1.AgentNote{{Code: "key-not-current", Subject: "node a-1"}, {Code: "mtu-clamped", Subject: "node a-1", Text: "1450"}}
	if diff := cmp.Diff(want, v.reportedNotes("a-1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
