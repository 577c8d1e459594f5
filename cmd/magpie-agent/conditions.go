// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// conditions are what is wrong with this node and worth a person's time. They
// are shown at /conditions and as a metric.
type conditions struct {
	tracker *health.Tracker
	gauge   *prometheus.Desc
	now     func() time.Time

	mu     sync.Mutex
	detail map[said]string // of the conditions that the API has been told of
}

// said is one time that a condition held.
type said struct {
	code    health.Code
	subject string
	since   time.Time
}

func newConditions(now func() time.Time) *conditions {
	return &conditions{
		tracker: health.NewTracker(health.Conditions()), now: now,
		gauge: prometheus.NewDesc("magpie_condition", "Conditions that hold and have lasted, by code.", []string{"code"}, nil),
	}
}

// hold says that the condition holds for subject, or that it does not.
func (c *conditions) hold(code health.Code, subject string, holds bool, detail string) {
	if holds {
		c.tracker.Set(code, subject, detail, c.now())
		return
	}
	c.tracker.Clear(code, subject)
}

// view judges the outcome of reading the fleet: v is nil while there is none.
// lost and cause are since when and why the API server has not answered; the
// zero time if it does.
func (c *conditions) view(v *fleet.View, err error, lost time.Time, cause error) {
	if v == nil {
		c.tracker.Clear(health.APIUnreachable, "")
		c.hold(health.NotSynced, "", errors.Is(err, reconcile.ErrNotReady), fmt.Sprint(cmp.Or(cause, err)))
		return
	}
	c.tracker.Clear(health.NotSynced, "")
	if !lost.IsZero() {
		c.tracker.Set(health.APIUnreachable, "", fmt.Sprintf("no answer since %s: %v", lost.UTC().Format(time.RFC3339), cause), lost)
		return
	}
	c.hold(health.APIUnreachable, "", v.Stale, "the fleet is as of "+v.ReadAt.Format(time.RFC3339))
}

// reported is what to tell the API. The detail stays what it was when it was
// first told: an error's text that changes with each try is no news. That the
// API server is unreachable is not told to the API server.
func (c *conditions) reported() []v1alpha1.AgentCondition {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.detail
	c.detail = map[said]string{}
	var out []v1alpha1.AgentCondition
	for _, f := range c.tracker.Shown(c.now()) {
		if f.Code == health.APIUnreachable || len(out) == reportedMost {
			continue
		}
		key := said{f.Code, f.Subject, f.Since}
		detail, told := old[key]
		if !told {
			detail = shorten(f.Detail)
		}
		c.detail[key] = detail
		out = append(out, v1alpha1.AgentCondition{
			Code: string(f.Code), Subject: f.Subject, Severity: f.Severity.String(), Detail: detail,
			Since: metav1.Time{Time: f.Since.UTC().Truncate(time.Second)},
		})
	}
	return out
}

// What a LinkReport holds at most. Source: its CRD.
const (
	reportedMost = 16
	reportedText = 512
)

// shorten cuts a text to what the API takes, at a rune.
func shorten(s string) string {
	if len(s) <= reportedText {
		return s
	}
	return strings.ToValidUTF8(s[:reportedText-3], "") + "..."
}

// Describe is part of prometheus.Collector.
func (c *conditions) Describe(ch chan<- *prometheus.Desc) { ch <- c.gauge }

// Collect is part of prometheus.Collector.
func (c *conditions) Collect(ch chan<- prometheus.Metric) {
	count := map[health.Code]int{}
	for _, f := range c.tracker.Shown(c.now()) {
		count[f.Code]++
	}
	for _, known := range health.Conditions() {
		ch <- prometheus.MustNewConstMetric(c.gauge, prometheus.GaugeValue, float64(count[known.Code]), string(known.Code))
	}
}

// ServeHTTP prints one condition a line; nothing is wrong when there is none.
func (c *conditions) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for _, f := range c.tracker.Shown(c.now()) {
		fmt.Fprintln(w, f)
	}
}

// judge follows the rounds of one kernel loop: one goroutine, that loop's.
type judge struct {
	conditions  *conditions
	repairs     health.Repairs
	before, now plan.Plan // what the last two rounds wanted
	failed      bool      // the round before failed
}

func (j *judge) wants(p plan.Plan) { j.before, j.now = j.now, p }

// round judges the end of a round. Steps are a repair, and not a change of
// mind, when the round wanted what the one before had wanted and reached.
func (j *judge) round(r reconcile.Round) {
	failing := r.Err != nil && !r.NotReady()
	changed := j.failed || r.Steps > 0 && len(plan.Diff(j.before, j.now)) > 0
	subject := "loop " + r.Loop
	j.conditions.hold(health.LoopFailing, subject, failing, fmt.Sprint(r.Err))
	j.conditions.hold(health.ForeignWriter, subject, j.repairs.Round(r.At, r.Steps, changed), "see the agent's log")
	j.failed = r.Err != nil
}
