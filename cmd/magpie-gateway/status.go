// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/magpie-edge/magpie/internal/version"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// status is what /sessions says; magpiectl reads it.
type status struct {
	Instance  string           `json:"instance"`
	Version   string           `json:"version"`
	Instances []string         `json:"instances"`
	Draining  bool             `json:"draining"`
	Sessions  []stream.Session `json:"sessions"`
	Peers     []stream.Session `json:"peers"`
}

// status serves health, metrics and sessions.
func (g *gateway) status() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", answer(func() error { return nil }))
	mux.Handle("GET /readyz", answer(g.ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.audit.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /sessions", func(w http.ResponseWriter, _ *http.Request) {
		h := g.hello()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status{
			Instance: h.Instance, Version: version.String(), Instances: h.Instances, Draining: g.draining.Load(),
			Sessions: g.sessions.List(), Peers: g.peers.List(),
		})
	})
	return mux
}

// ready is nil while callers and agents should be sent here.
func (g *gateway) ready() error {
	if g.draining.Load() {
		return errors.New("shutting down")
	}
	switch who, ok := g.certs.Who(); {
	case !ok:
		return errors.New("no certificate yet")
	case !g.certs.Now().Before(who.Expires):
		return errors.New("our certificate has ended, and no new one was issued")
	}
	return g.people.Ready()
}

func answer(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
}
