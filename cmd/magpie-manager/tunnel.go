// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	certv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// tunnel is the authority of the O&M tunnel: three loops, of which none waits
// for another.
type tunnel struct {
	issuer *cluster.Issuer
	door   *cluster.Manager
	report *reporter

	requests *prometheus.CounterVec
	expires  prometheus.Gauge
}

// addTunnel adds the loops and what they watch.
func addTunnel(mgr manager.Manager, cfg *rest.Config, c Config, door *cluster.Manager, r *reporter) error {
	t := &tunnel{door: door, report: r}
	t.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "magpie_tunnel_requests_total", Help: "Answered requests for certificates of the tunnel.",
	}, []string{"result", "code"})
	t.expires = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "magpie_tunnel_authority_expiry_timestamp_seconds", Help: "When the tunnel's authority ends.",
	})
	ctrlmetrics.Registry.MustRegister(t.requests, t.expires)
	var err error
	t.issuer, err = cluster.NewIssuer(cfg, door, cluster.IssuerOptions{Namespace: c.Namespace, Now: now, Log: r.log, Answered: t.answered})
	if err != nil {
		return err
	}
	every := c.Every.Duration
	runnables := []manager.Runnable{always{t.issuer}, t.authority(every), t.bundle(every), t.answers(every)}
	for _, add := range runnables {
		if err := mgr.Add(add); err != nil {
			return fmt.Errorf("add the tunnel's authority: %w", err)
		}
	}
	return nil
}

// authority keeps the Secret: a first authority, and the next one in time.
func (t *tunnel) authority(every time.Duration) manager.Runnable {
	loop := &reconcile.Loop[cluster.Safe, identity.Vault]{
		Name: "tunnel-authority", Read: t.issuer.Safe, World: t.issuer.Vault(),
		Desire: func(s cluster.Safe) (identity.Vault, error) {
			var notes []plan.Note
			if s.Err != nil {
				notes = append(notes, plan.Note{Subject: "authority", Code: identity.NoteAuthority, Text: s.Err.Error()})
			}
			if s.Filled {
				t.expires.Set(float64(s.Vault.Sign.Certificate.NotAfter.Unix()))
			}
			t.report.notes("tunnel-authority", notes, t.find)
			return cluster.Advance(s)
		},
		Wake: t.issuer.Wake(), Gap: gap, Every: every, Report: t.report.round,
	}
	return leading(loop.Run)
}

// bundle keeps the ConfigMap that agents and gateways trust.
func (t *tunnel) bundle(every time.Duration) manager.Runnable {
	loop := &reconcile.Loop[cluster.Safe, []plan.Manifest]{
		Name: "tunnel-bundle", Read: t.issuer.Safe, Desire: cluster.BundleOf, World: t.issuer.Bundle(),
		Wake: t.issuer.Wake(), Gap: gap, Every: every, Report: t.report.round,
	}
	return leading(loop.Run)
}

// answers grants or refuses what agents and gateways ask for.
func (t *tunnel) answers(every time.Duration) manager.Runnable {
	loop := &reconcile.Loop[[]*certv1.CertificateSigningRequest, []identity.Decision]{
		Name: "tunnel-requests", Read: t.issuer.Requests, World: t.issuer.Answers(),
		Desire: func(requests []*certv1.CertificateSigningRequest) ([]identity.Decision, error) {
			decisions, notes := identity.Decide(requests, t.issuer.Rules())
			t.report.notes("tunnel-requests", notes, t.find)
			return decisions, nil
		},
		Wake: t.issuer.Wake(), Gap: gap, Every: every, Report: t.report.round,
	}
	return leading(loop.Run)
}

func (t *tunnel) answered(d identity.Decision) {
	result := "issued"
	if !d.Verdict.Granted() {
		result = "refused"
	}
	t.requests.WithLabelValues(result, d.Verdict.Code).Inc()
}

// find returns the object of a note: the node that asked, else the request.
func (t *tunnel) find(text string) runtime.Object {
	if name, ok := strings.CutPrefix(text, "request "); ok {
		if csr := t.issuer.Request(name); csr != nil {
			return csr
		}
		return nil
	}
	in, err := t.door.Objects()
	if err != nil {
		return nil
	}
	return subject(text, in)
}

// now is the clock of certificates.
func now() time.Time { return time.Now() } //nolint:forbidigo // a door is handed the clock here
