// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// Lines about strangers and refusals, a second: whoever is turned away a
// million times is counted a million times and fills no disk.
const (
	refusalsPerSecond = 20
	refusalsBurst     = 100
)

// audit says of each stream who, which node, which port, how long and how much.
type audit struct {
	log      *slog.Logger
	registry *prometheus.Registry
	now      func() time.Time

	ends       *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	handshakes *prometheus.CounterVec
	stalled    prometheus.Counter
	unsaid     prometheus.Counter

	mu     sync.Mutex
	credit float64 // lines that may be written now
	at     time.Time
}

func newAudit(log *slog.Logger, now func() time.Time) *audit {
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	a := &audit{
		log: log, registry: prometheus.NewRegistry(), now: now, credit: refusalsBurst, at: now(),
		ends: prometheus.NewCounterVec(counter("magpie_tunnel_streams_total", "Streams that were open and have ended, by the caller's way in and how they ended."),
			[]string{"op", "code"}),
		refusals: prometheus.NewCounterVec(counter("magpie_tunnel_refusals_total", "Streams that were not opened, by the caller's way in and the reason."),
			[]string{"op", "code"}),
		bytes: prometheus.NewCounterVec(counter("magpie_tunnel_bytes_total", "Bytes of streams that have ended: sent towards nodes, received from them."),
			[]string{"op"}),
		handshakes: prometheus.NewCounterVec(counter("magpie_tunnel_handshakes_total", "TLS handshakes of agents, other instances and strangers."),
			[]string{"result"}),
		stalled: prometheus.NewCounter(counter("magpie_tunnel_stalled_seconds_total", "Time that streams waited for a reader that did not read.")),
		unsaid:  prometheus.NewCounter(counter("magpie_tunnel_unsaid_total", "Refusals without a line in the log, because there were too many.")),
	}
	a.registry.MustRegister(a.ends, a.refusals, a.bytes, a.handshakes, a.stalled, a.unsaid,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return a
}

// watch adds what is read from the gateway when somebody asks.
func (a *audit) watch(g *gateway) {
	gauge := func(name, help string, get func() float64) {
		a.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, get))
	}
	gauge("magpie_tunnel_sessions", "Nodes that are connected to this instance.", func() float64 {
		return float64(len(g.sessions.List()))
	})
	gauge("magpie_tunnel_streams", "Streams that are open on sessions of this instance.", func() (n float64) {
		for _, s := range g.sessions.List() {
			n += float64(s.Streams)
		}
		return n
	})
	gauge("magpie_tunnel_peers", "Other instances that this one can ask.", func() float64 {
		return float64(len(g.peers.List()))
	})
	gauge("magpie_tunnel_certificate_expiry_timestamp_seconds", "End of this instance's certificate; 0 while it has none.", func() float64 {
		if who, ok := g.certs.Who(); ok {
			return float64(who.Expires.Unix())
		}
		return 0
	})
	gauge("magpie_tunnel_clock_offset_seconds", "How far this instance's clock is ahead of the API server's; 0 up to a minute.", func() float64 {
		return g.certs.ClockOff().Seconds()
	})
}

// ended takes the end of a stream that was open. Refusals come in refused,
// once, from whoever the caller has to do with.
func (a *audit) ended(r stream.Record) {
	if _, ok := r.Err.(*stream.Refusal); ok { //nolint:errorlint // one that is wrapped ended a stream that was open
		return
	}
	a.ends.WithLabelValues(way(r.Call), string(r.Code)).Inc()
	a.bytes.WithLabelValues("sent").Add(float64(r.Sent))
	a.bytes.WithLabelValues("received").Add(float64(r.Received))
	a.stalled.Add(r.Stalled.Seconds())
	a.log.Info("stream ended", append(what(r), "took", r.Took, "sent", r.Sent, "received", r.Received, "stalled", r.Stalled)...)
}

// refused takes a stream that was not opened.
func (a *audit) refused(r stream.Record) {
	if _, ok := r.Err.(*stream.Refusal); !ok { //nolint:errorlint // as in ended
		return
	}
	a.refusals.WithLabelValues(way(r.Call), string(r.Code)).Inc()
	if a.may() {
		a.log.Warn("stream refused", what(r)...)
	}
}

// handshake takes the result of one at the door.
func (a *audit) handshake(from netip.Addr, result wire.Result, err error) {
	a.handshakes.WithLabelValues(string(result)).Inc()
	switch result {
	case wire.ResultOK:
	case wire.ResultSilent, wire.ResultBanned: // as many as there are health checks and attackers
		a.log.Debug("handshake refused", "remote", from, "code", result, "err", err)
	default:
		if a.may() {
			a.log.Warn("handshake refused", "remote", from, "code", result, "err", err)
		}
	}
}

// may takes one line's worth of credit.
func (a *audit) may() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	a.credit = min(refusalsBurst, a.credit+now.Sub(a.at).Seconds()*refusalsPerSecond)
	a.at = now
	if a.credit < 1 {
		a.unsaid.Inc()
		return false
	}
	a.credit--
	return true
}

func what(r stream.Record) []any {
	out := []any{"caller", r.Call.Caller, "node", r.Call.Target.Node, "target", r.Call.Target, "code", r.Code}
	if r.Err != nil {
		out = append(out, "err", r.Err)
	}
	return out
}

// way is the first word of a caller: the entry that established it.
func way(c stream.Call) string {
	word, _, _ := strings.Cut(c.Caller, " ")
	switch word {
	case "connect", "sni", "http", "peer":
		return word
	default:
		return "other"
	}
}
