// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
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
