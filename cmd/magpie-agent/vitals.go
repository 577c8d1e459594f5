// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// vitals collects what loops report, for metrics, logs and the probes.
type vitals struct {
	log     *slog.Logger
	metrics *prometheus.Registry
	rounds  *prometheus.CounterVec
	steps   *prometheus.CounterVec
	success *prometheus.GaugeVec
	calls   *prometheus.HistogramVec
	noted   *prometheus.GaugeVec

	conditions *conditions

	mu sync.Mutex
	// errs is the last error of each loop that readiness asks about; before its
	// first round that is errNoRound. What needs the API server is not among
	// them: a node that is cut off is ready as long as its pods are served.
	errs  map[string]error
	notes map[string][]plan.Note // by planner, as last heard
}

var errNoRound = errors.New("no round yet")

func newVitals(log *slog.Logger, loops ...string) *vitals {
	h := &vitals{
		log:     log,
		metrics: prometheus.NewRegistry(),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_loop_rounds_total", Help: "Rounds of each loop by result.",
		}, []string{"loop", "result"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_loop_steps_total", Help: "Writes that each loop made.",
		}, []string{"loop"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "magpie_loop_last_success_timestamp_seconds", Help: "When each loop last found or brought the world to its plan.",
		}, []string{"loop"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "magpie_cni_call_duration_seconds", Help: "Time to answer each CNI call, in the agent.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12),
		}, []string{"op", "result"}),
		noted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "magpie_notes", Help: "Things that a planner left out, by the reason's code.",
		}, []string{"loop", "code"}),
		conditions: newConditions(time.Now), //nolint:forbidigo // where time enters
		errs:       map[string]error{},
		notes:      map[string][]plan.Note{},
	}
	h.metrics.MustRegister(h.rounds, h.steps, h.success, h.calls, h.noted, h.conditions)
	for _, l := range loops {
		h.errs[l] = errNoRound
	}
	return h
}

// report takes the result of one round: one line where something changed or
// went wrong, none where nothing did.
func (h *vitals) report(r reconcile.Round) {
	h.rounds.WithLabelValues(r.Loop, result(r.Err)).Inc()
	h.steps.WithLabelValues(r.Loop).Add(float64(r.Steps))
	if r.Err == nil {
		h.success.WithLabelValues(r.Loop).Set(float64(r.At.Add(r.Took).UnixMilli()) / 1000)
	}
	h.mu.Lock()
	if _, asked := h.errs[r.Loop]; asked {
		h.errs[r.Loop] = r.Err
	}
	h.mu.Unlock()
	switch {
	case r.NotReady():
		h.log.Debug("round waits for its sources", "loop", r.Loop)
	case r.Err != nil:
		h.log.Warn("round failed, trying again", "loop", r.Loop, "steps", r.Steps, "err", r.Err)
	case r.Steps > 0:
		h.log.Info("round changed something", "loop", r.Loop, "steps", r.Steps, "took", r.Took.Round(time.Microsecond))
	}
}

// note takes what a planner left out. What is new is logged, once.
func (h *vitals) note(loop string, notes []plan.Note) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.notes[loop]
	if slices.Equal(old, notes) {
		return
	}
	h.notes[loop] = notes
	h.noted.DeletePartialMatch(prometheus.Labels{"loop": loop})
	for _, n := range notes {
		h.noted.WithLabelValues(loop, n.Code).Inc()
		if !slices.Contains(old, n) {
			h.log.Warn("left out of the plan", "loop", loop, "subject", n.Subject, "code", n.Code, "text", n.Text)
		}
	}
	for _, n := range old {
		if !slices.Contains(notes, n) {
			h.log.Info("no longer left out of the plan", "loop", loop, "subject", n.Subject, "code", n.Code)
		}
	}
}

// reportedNotes is what to tell the API of what is left out, sorted: of this
// node only. What it notes of its neighbours and of other domains, every other
// node notes as well, and whoever has the API can work it out.
func (h *vitals) reportedNotes(node string) []v1alpha1.AgentNote {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []v1alpha1.AgentNote
	for _, loop := range slices.Sorted(maps.Keys(h.notes)) {
		for _, n := range h.notes[loop] {
			if n.Subject == "node "+node {
				out = append(out, v1alpha1.AgentNote{Code: n.Code, Subject: n.Subject, Text: shorten(n.Text)})
			}
		}
	}
	return out[:min(len(out), reportedMost)]
}

// call takes the result of one CNI call.
func (h *vitals) call(op string, took time.Duration, err error) {
	h.calls.WithLabelValues(op, result(err)).Observe(took.Seconds())
}

// result is the value of the metrics' label of that name.
func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// ready is nil when every loop's last round succeeded.
func (h *vitals) ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for loop, err := range h.errs {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", loop, err))
		}
	}
	return errors.Join(errs...)
}

// serve answers /healthz, /readyz, /conditions and /metrics on every address of the node
// until ctx ends. The API that moves packets has no listener at all.
func (h *vitals) serve(ctx context.Context, port int) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("/conditions", h.conditions)
	mux.Handle("/metrics", promhttp.HandlerFor(h.metrics, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return fmt.Errorf("listen for probes and metrics: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve probes and metrics: %w", err)
	}
	return nil
}
