// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/hub/serve"
	"github.com/magpie-edge/magpie/internal/health"
)

// silentFor is how long a kind may be silent. An API server says each minute how
// far a watch has come, but only if that is any further: of a kind that rests,
// as Namespaces do, the next word may be the watch that client-go opens anew
// after five to ten minutes.
const silentFor = 11 * time.Minute

// judge raises and clears the hub's conditions.
func (h *nodeHub) judge(files error) {
	down := files
	if fault := h.fault.Load(); fault != nil {
		down = errors.Join(*fault, files)
	}
	stats := h.store.Stats()
	if down == nil {
		down = unknown(stats)
	}
	h.conditions.hold(health.HubDown, "", down != nil, fmt.Sprint(down))
	why := stale(stats, h.store.Online(), now())
	h.conditions.hold(health.HubStale, "", why != "", why)
}

// unknown is why callers are told to come back later.
func unknown(stats []hub.Stats) error {
	for _, s := range stats {
		if (s.Kind == hub.Services || s.Kind == hub.EndpointSlices) && !s.Ready {
			return fmt.Errorf("nothing is known of %s yet, from the API server or from disk", s.Kind.Resource)
		}
	}
	return nil
}

// stale says what callers are told that may no longer be so; "" if nothing is.
func stale(stats []hub.Stats, online bool, at time.Time) string {
	var old []string
	for _, s := range stats {
		if s.Ready && (s.Stale || !online || at.Sub(s.Heard) > silentFor) {
			heard := "from disk"
			if !s.Heard.IsZero() {
				heard = "as of " + s.Heard.UTC().Format(time.RFC3339)
			}
			old = append(old, s.Kind.Resource+" "+heard)
		}
	}
	return strings.Join(old, ", ")
}

// newListHistogram begins at a list of a few Services from memory.
func newListHistogram() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "magpie_hub_list_duration_seconds", Help: "Time to answer a list, to its last byte.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	})
}

// hubMetrics are read when somebody asks.
type hubMetrics struct {
	hub *nodeHub

	objects, shown, watchers, events, gone, heard, requests, reviews *prometheus.Desc
}

func newHubMetrics(h *nodeHub) *hubMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &hubMetrics{
		hub:      h,
		objects:  desc("magpie_hub_objects", "Objects that the hub knows, by kind.", "kind"),
		shown:    desc("magpie_hub_shown_objects", "Objects that callers on this node see, by kind.", "kind"),
		watchers: desc("magpie_hub_watchers", "Watches that are open, by kind.", "kind"),
		events:   desc("magpie_hub_events_total", "Visible changes, by kind; each watcher is sent each.", "kind"),
		gone:     desc("magpie_hub_gone_total", "Watchers told to list again, by kind.", "kind"),
		heard:    desc("magpie_hub_last_heard_timestamp_seconds", "When the API server last said anything about a kind.", "kind"),
		requests: desc("magpie_hub_requests_total", "Requests since the hub began to listen: answered, refused, or passed to the API server.", "result"),
		reviews:  desc("magpie_hub_reviews_total", "Questions about callers: asked of the API server, or while it is away answered from before or by the signature of a token.", "result"),
	}
}

// Describe is part of prometheus.Collector.
func (m *hubMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.objects, m.shown, m.watchers, m.events, m.gone, m.heard, m.requests, m.reviews} {
		ch <- d
	}
	m.hub.lists.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (m *hubMetrics) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, label)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	for _, s := range m.hub.store.Stats() {
		kind := s.Kind.Resource
		send(m.objects, gauge, float64(s.Objects), kind)
		send(m.shown, gauge, float64(s.Shown), kind)
		send(m.watchers, gauge, float64(s.Watchers), kind)
		send(m.events, counter, float64(s.Events), kind)
		send(m.gone, counter, float64(s.Gone), kind)
		if !s.Heard.IsZero() {
			send(m.heard, gauge, float64(s.Heard.UnixMilli())/1000, kind)
		}
	}
	var served serve.Stats
	if server := m.hub.server.Load(); server != nil {
		served = server.Stats()
	}
	send(m.requests, counter, float64(served.Answered), "answered")
	send(m.requests, counter, float64(served.Refused), "refused")
	send(m.requests, counter, float64(served.Passed), "passed")
	asked := m.hub.review.Stats()
	send(m.reviews, counter, float64(asked.Asked), "asked")
	send(m.reviews, counter, float64(asked.Graced), "graced")
	send(m.reviews, counter, float64(asked.Signed), "signed")
	m.hub.lists.Collect(ch)
}
