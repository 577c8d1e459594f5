// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
)

// metrics of the loops; the names are those of magpie-agent.
type metrics struct {
	rounds  *prometheus.CounterVec
	steps   *prometheus.CounterVec
	success *prometheus.GaugeVec
	notes   *prometheus.GaugeVec
}

func newMetrics() *metrics {
	m := &metrics{
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_loop_rounds_total", Help: "Rounds of each loop by result.",
		}, []string{"loop", "result"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_loop_steps_total", Help: "Writes that each loop made.",
		}, []string{"loop"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "magpie_loop_last_success_timestamp_seconds", Help: "When each loop last found or brought the world to its plan.",
		}, []string{"loop"}),
		notes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "magpie_plan_notes", Help: "What each loop left out of its plan, by code.",
		}, []string{"loop", "code"}),
	}
	for _, c := range []prometheus.Collector{m.rounds, m.steps, m.success, m.notes} {
		ctrlmetrics.Registry.MustRegister(c)
	}
	return m
}

// reporter tells operators what the loops do: log, metrics and events.
type reporter struct {
	log     *slog.Logger
	metrics *metrics
	events  events.EventRecorder

	mu sync.Mutex
	// said are the notes that each loop had in its last round: a note is an
	// event when it appears, not in every round. False: the event is still to
	// come, because its object is only planned.
	said map[string]map[plan.Note]bool
	// active are the elected endpoints of each Gateway after the last round.
	active map[string][]string
}

// round takes the result of one round: one line where something changed or
// went wrong, none where nothing did.
func (r *reporter) round(x reconcile.Round) {
	if x.NotReady() {
		r.log.Debug("round waits for its sources", "loop", x.Loop)
		return
	}
	if errors.Is(x.Err, context.Canceled) {
		r.log.Debug("round ended with the process", "loop", x.Loop)
		return
	}
	result := "ok"
	if x.Err != nil {
		result = "error"
	}
	r.metrics.rounds.WithLabelValues(x.Loop, result).Inc()
	r.metrics.steps.WithLabelValues(x.Loop).Add(float64(x.Steps))
	switch {
	case x.Err != nil:
		r.log.Warn("round is repeated", "loop", x.Loop, "steps", x.Steps, "took", x.Took, "err", x.Err)
		return
	case x.Steps > 0:
		r.log.Info("round wrote", "loop", x.Loop, "steps", x.Steps, "took", x.Took)
	}
	r.metrics.success.WithLabelValues(x.Loop).Set(float64(x.At.Add(x.Took).UnixMilli()) / 1000)
}

// notes makes an event and a line of log of each note that is new. find returns
// the object that a note is about, nil if there is none.
func (r *reporter) notes(loop string, notes []plan.Note, find func(subject string) runtime.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil {
		r.said = map[string]map[plan.Note]bool{}
	}
	before, now, counts := r.said[loop], map[plan.Note]bool{}, map[string]int{}
	for n := range before {
		counts[n.Code] = 0
	}
	for _, n := range notes {
		if _, twice := now[n]; twice {
			continue
		}
		counts[n.Code]++
		told, known := before[n]
		if !known {
			r.log.Warn("left out of the plan", "loop", loop, "subject", n.Subject, "code", n.Code, "text", n.Text)
		}
		if about := find(n.Subject); !told && about != nil {
			r.events.Eventf(about, nil, corev1.EventTypeWarning, camel(n.Code), "Plan", "%s", n.Text)
			told = true
		}
		now[n] = told
	}
	for code, count := range counts {
		r.metrics.notes.WithLabelValues(loop, code).Set(float64(count))
	}
	r.said[loop] = now
}

// elections adds Raven's events on a Gateway whose active endpoints change.
func (r *reporter) elections(do func(fleet.Cluster) (nodepool.Plan, error)) func(fleet.Cluster) (nodepool.Plan, error) {
	return func(in fleet.Cluster) (nodepool.Plan, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		now := map[string][]string{}
		for _, g := range in.Gateways {
			for _, e := range g.Status.ActiveEndpoints {
				now[g.Name] = append(now[g.Name], e.Type+" "+e.NodeName)
			}
			before, known := r.active[g.Name]
			if !known && r.active == nil {
				continue // we have just started: nothing has changed
			}
			r.turn(g, before, now[g.Name])
		}
		r.active = now
		return do(in)
	}
}

func (r *reporter) turn(g *ravenv1beta1.Gateway, before, now []string) {
	for _, e := range now {
		if !slices.Contains(before, e) {
			r.log.Info("gateway is elected", "domain", g.Name, "endpoint", e)
			r.events.Eventf(g, nil, corev1.EventTypeNormal, ravenv1beta1.EventElected, "Elect", "active endpoint %s", e)
		}
	}
	for _, e := range before {
		if !slices.Contains(now, e) {
			r.log.Info("gateway is no longer elected", "domain", g.Name, "endpoint", e)
			r.events.Eventf(g, nil, corev1.EventTypeWarning, ravenv1beta1.EventLost, "Elect", "endpoint %s is no longer active", e)
		}
	}
}

// subject finds the object that a note is about: "gateway gw-cloud", "node a".
func subject(text string, in fleet.Cluster) runtime.Object {
	kind, name, _ := strings.Cut(text, " ")
	switch kind {
	case "gateway":
		for _, g := range in.Gateways {
			if g.Name == name {
				return g
			}
		}
	case "pool":
		for _, p := range in.Pools {
			if p.Name == name {
				return p
			}
		}
	case "node":
		for _, n := range in.Nodes {
			if n.Name == name {
				return n
			}
		}
	}
	return nil
}

// camel turns a note's code into an event's reason: "bad-cidr", "BadCidr".
func camel(code string) string {
	var b strings.Builder
	for w := range strings.SplitSeq(code, "-") {
		if w != "" {
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
	}
	return b.String()
}
