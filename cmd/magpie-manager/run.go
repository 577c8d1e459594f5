// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
)

// gap is how long a loop waits for more before it looks again: a node that
// joins is several events, and must be in a slice within tens of milliseconds.
const gap = 50 * time.Millisecond

// run wires the manager and runs it until ctx ends.
func run(ctx context.Context, c Config, logs io.Writer) error {
	level, err := c.level()
	if err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	handler := slog.NewTextHandler(logs, &slog.HandlerOptions{Level: level})
	log := slog.New(handler)
	klog.SetSlogLogger(log)
	ctrl.SetLogger(logr.FromSlogHandler(handler))

	cfg, err := restConfig(c)
	if err != nil {
		return err
	}
	door, err := cluster.NewManager(cfg, cmp.Or(c.Namespace, metav1.NamespaceSystem))
	if err != nil {
		return err
	}
	mgr, err := newManager(cfg, c, door)
	if err != nil {
		return err
	}
	r := &reporter{log: log, metrics: newMetrics(), events: mgr.GetEventRecorder("magpie-manager")}
	for _, p := range partsOf(door, r, c) {
		if err := mgr.Add(p.loop(door, r, c.Every.Duration)); err != nil {
			return fmt.Errorf("add loop %s: %w", p.name, err)
		}
	}
	if err := addTunnel(mgr, cfg, c, door, r); err != nil {
		return err
	}
	log.Info("manager starts", "listen", c.Listen)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// partsOf lists the loops over nodes, pools and Gateways.
func partsOf(door *cluster.Manager, r *reporter, c Config) []part {
	own := func(loop string, s cluster.Scope) reconcile.World[[]plan.Manifest] {
		s.Manager = "magpie-" + loop
		return door.Manifests(s)
	}
	return []part{
		{
			name:  "gateways",
			plan:  nodepool.Gateways,
			world: own("gateways", cluster.Scope{Parts: []cluster.Part{{Kind: "Gateway"}}, Own: nodepool.Ours, Yield: true}),
		},
		{
			name:  "slices",
			plan:  func(in fleet.Cluster) (nodepool.Plan, error) { return nodepool.Slices(in, c.VNI) },
			world: own("slices", cluster.Scope{Parts: []cluster.Part{{Kind: "DomainSlice"}}}),
		},
		{
			name: "status",
			plan: r.elections(nodepool.Status),
			world: own("status", cluster.Scope{Parts: []cluster.Part{
				{Kind: "Gateway", Subresource: "status"}, {Kind: "NodePool", Subresource: "status"},
			}}),
		},
		{name: "pools", plan: nodepool.Members, world: door.Members()},
	}
}

// part is one loop: a planner and what it owns.
type part struct {
	name  string
	plan  func(fleet.Cluster) (nodepool.Plan, error)
	world reconcile.World[[]plan.Manifest]
}

func (p part) loop(door *cluster.Manager, r *reporter, every time.Duration) manager.Runnable {
	loop := &reconcile.Loop[fleet.Cluster, []plan.Manifest]{
		Name: p.name,
		Read: door.Objects,
		Desire: func(in fleet.Cluster) ([]plan.Manifest, error) {
			out, err := p.plan(in)
			if err == nil {
				r.notes(p.name, out.Notes, func(text string) runtime.Object { return subject(text, in) })
			}
			return out.Manifests, err
		},
		World:  p.world,
		Wake:   door.Wake(),
		Gap:    gap,
		Every:  every,
		Report: r.round,
	}
	return leading(loop.Run)
}

// leading runs on the leader only.
func leading(run func(context.Context) error) manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		if err := run(ctx); ctx.Err() == nil {
			return err
		}
		return nil
	})
}

func restConfig(c Config) (*rest.Config, error) {
	if c.Kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("read the pod's account: %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", c.Kubeconfig, err)
	}
	return cfg, nil
}

// newManager sets up leader election and the one listener: health and metrics.
func newManager(cfg *rest.Config, c Config, door *cluster.Manager) (manager.Manager, error) {
	scheme, err := cluster.Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := manager.New(cfg, manager.Options{
		Scheme:                        scheme,
		LeaderElection:                c.LeaderElection,
		LeaderElectionID:              "magpie-manager",
		LeaderElectionNamespace:       c.Namespace,
		LeaderElectionReleaseOnCancel: true, // Start returns after every loop has ended
		Metrics: metricsserver.Options{BindAddress: c.Listen, ExtraHandlers: map[string]http.Handler{
			"/healthz": answer(func() error { return nil }),
			"/readyz":  answer(door.Ready),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("make manager: %w", err)
	}
	if err := mgr.Add(always{door}); err != nil {
		return nil, fmt.Errorf("add watches: %w", err)
	}
	return mgr, nil
}

// always runs the watches on every replica, so that a new leader knows
// everything already.
type always struct {
	door interface {
		Run(ctx context.Context) error
	}
}

func (a always) Start(ctx context.Context) error {
	if err := a.door.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

func (always) NeedLeaderElection() bool { return false }

func answer(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
}
