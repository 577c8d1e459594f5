// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// tunnelMetrics counts what the tunnel does. What can be looked up when
// somebody asks is not counted.
type tunnelMetrics struct {
	tunnel  *omTunnel
	streams *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	stalled prometheus.Counter
	dials   *prometheus.CounterVec
	relayed *prometheus.CounterVec

	connections, open, expiry, carried, clock *prometheus.Desc

	mu   sync.Mutex
	last error // why a dial failed last
}

func newTunnelMetrics(t *omTunnel) *tunnelMetrics {
	return &tunnelMetrics{
		tunnel: t,
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_tunnel_streams_total", Help: "Streams of the O&M tunnel that ended or were refused, by code.",
		}, []string{"code"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_tunnel_stream_bytes_total", Help: "Bytes carried to the node's programs (op sent) and from them (op received).",
		}, []string{"op"}),
		stalled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_tunnel_stream_stalled_seconds_total", Help: "Time that streams waited for a reader that did not read.",
		}),
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_tunnel_dial_failures_total", Help: "Dials to gateways that failed, by the stage at which they did.",
		}, []string{"code"}),
		relayed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_tunnel_relayed_total", Help: "Neighbours' requests for a way out, by what became of them.",
		}, []string{"code"}),
		connections: prometheus.NewDesc("magpie_tunnel_connections", "Connections that serve, by gateway instance.", []string{"gateway"}, nil),
		open:        prometheus.NewDesc("magpie_tunnel_streams", "Streams that are open.", nil, nil),
		expiry:      prometheus.NewDesc("magpie_tunnel_certificate_expiry_timestamp_seconds", "When the node's certificate of the tunnel ends.", nil, nil),
		clock:       prometheus.NewDesc("magpie_tunnel_clock_offset_seconds", "How far the node's clock is ahead of the API server's; 0 up to a minute.", nil, nil),
		carried:     prometheus.NewDesc("magpie_tunnel_relay_connections", "Neighbours' connections that this node relays.", nil, nil),
	}
}

func (m *tunnelMetrics) register(r *prometheus.Registry) {
	r.MustRegister(m, m.streams, m.bytes, m.stalled, m.dials, m.relayed)
}

// Describe is part of prometheus.Collector.
func (m *tunnelMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.connections, m.open, m.expiry, m.carried, m.clock} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (m *tunnelMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := map[string]int{}
	for _, s := range m.tunnel.Sessions() {
		count[s.Instance]++
	}
	for instance, n := range count {
		gauge(m.connections, float64(n), instance)
	}
	open, _ := m.tunnel.server.Streams()
	gauge(m.open, float64(open))
	gauge(m.carried, float64(m.tunnel.relay.Open()))
	gauge(m.clock, m.tunnel.certs.ClockOff().Seconds())
	if who, ok := m.tunnel.certs.Who(); ok {
		gauge(m.expiry, float64(who.Expires.Unix()))
	}
}

// failed takes a dial that failed, or a connection that nobody greeted: a
// gateway looks at our certificate after we have looked at its own, so that is
// where its refusal is heard.
func (m *tunnelMetrics) failed(err error) {
	d, is := errors.AsType[*wire.DialError](err)
	if !is {
		d = &wire.DialError{Stage: wire.StageGreeting, Err: err}
		if alert, is := errors.AsType[*net.OpError](err); is && alert.Op == "remote error" {
			d.Stage = wire.StageTLS
		}
		err = d
	}
	m.dials.WithLabelValues(string(d.Stage)).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = identity.Timely(err, m.tunnel.certs.Now())
}

// why is the last failure's text, for a person.
func (m *tunnelMetrics) why() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		return "no gateway has been dialled yet"
	}
	return m.last.Error()
}

// ended takes the end of a stream, or its refusal.
func (t *omTunnel) ended(r stream.Record) {
	m := t.metrics
	m.streams.WithLabelValues(string(r.Code)).Inc()
	m.bytes.WithLabelValues("sent").Add(float64(r.Sent))
	m.bytes.WithLabelValues("received").Add(float64(r.Received))
	m.stalled.Add(r.Stalled.Seconds())
	attrs := []any{
		"target", r.Call.Target.String(), "caller", r.Call.Caller, "code", string(r.Code),
		"took", r.Took.Round(time.Millisecond), "sent", r.Sent, "received", r.Received, "err", r.Err,
	}
	switch r.Code {
	case stream.CodeNotAllowed, stream.CodeWrongNode, stream.CodeBadRequest:
		t.log.Warn("stream is refused", attrs...) // a gateway checks the same list
	default:
		t.log.Debug("stream has ended", attrs...)
	}
}

// relayed takes what became of a neighbour's request.
func (t *omTunnel) relayed(from netip.Addr, addr string, code wire.RelayCode, err error) {
	t.metrics.relayed.WithLabelValues(string(code)).Inc()
	t.log.Debug("relayed for a neighbour", "from", from, "address", addr, "code", string(code), "err", err)
}

// expiresSoon is when a certificate should long have been renewed: that begins
// eight hours before its end.
const expiresSoon = 4 * time.Hour

// judge raises and clears the tunnel's conditions.
func (t *omTunnel) judge() {
	wanted := len(t.addresses) > 0
	who, has := t.certs.Who()
	left := who.Expires.Sub(t.certs.Now())
	detail := ""
	switch trouble := t.certs.Trouble(); {
	case !has:
		detail = fmt.Sprintf("none has been issued yet: %v", trouble)
	case t.certs.Roots() == nil:
		detail = "the tunnel's authorities are not known yet"
	case left < 0:
		detail = fmt.Sprintf("it ended at %s: %v", who.Expires.Format(time.RFC3339), trouble)
	case left < expiresSoon:
		detail = fmt.Sprintf("it ends at %s and is not renewed: %v", who.Expires.Format(time.RFC3339), trouble)
	}
	off := t.certs.ClockOff()
	t.conditions.hold(health.ClockOff, "", off != 0, clockText(off))
	t.conditions.hold(health.TunnelCertificate, "", wanted && detail != "", detail)
	t.conditions.hold(health.TunnelDown, "", wanted && len(t.Sessions()) == 0, t.metrics.why())
}

// clockText says how wrong a clock is.
func clockText(off time.Duration) string {
	way := "ahead of"
	if off < 0 {
		way = "behind"
	}
	return fmt.Sprintf("%s %s the API server's", off.Abs().Round(time.Second), way)
}
