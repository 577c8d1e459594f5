// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// Agent is the door of one node: its own Node, its own LinkReport and all
// DomainSlices.
type Agent struct {
	client dynamic.Interface
	stores *stores
	line   *line
	node   string
	log    *slog.Logger
}

// NewAgent makes the door of the node of that name. It does not connect: an
// API server that is away is no reason not to start.
func NewAgent(cfg *rest.Config, node string, log *slog.Logger) (*Agent, error) {
	stores := newStores()
	line := &line{log: log, changed: stores.ring}
	cfg = line.on(cfg)
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	a := &Agent{client: client, stores: stores, line: line, node: node, log: log}
	self := fields.OneTermEqualSelector("metadata.name", node)
	for _, w := range []struct {
		kind     kind
		selector fields.Selector
	}{{nodeKind, self}, {reportKind, self}, {sliceKind, fields.Everything()}} {
		if err := a.stores.watch(cfg, w.kind, "", w.selector, trimAgent); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Run watches until ctx ends and returns ctx.Err(). It reconnects by itself
// for as long as the API server is away.
func (a *Agent) Run(ctx context.Context) error {
	a.log.Info("watching the api server", "node", a.node)
	a.stores.run(ctx)
	return ctx.Err()
}

// Objects returns what the API last said; reconcile.ErrNotReady until it has
// said everything once. It never waits.
func (a *Agent) Objects() (fleet.Objects, error) {
	if err := a.stores.ready(); err != nil {
		return fleet.Objects{}, err
	}
	var out fleet.Objects
	if n, ok := a.stores.get(nodeKind.name, "", a.node).(*corev1.Node); ok {
		out.Node = n.DeepCopy()
	}
	for _, s := range all[*v1alpha1.DomainSlice](a.stores, sliceKind) {
		out.Slices = append(out.Slices, *s)
	}
	return out, nil
}

// Lost returns since when the API server has not answered, and why; the zero
// time and nil while it answers. What Objects returns then is what it said last.
func (a *Agent) Lost() (since time.Time, err error) { return a.line.lost() }

// Wake returns a new channel that receives after every change of Objects, and
// when the API server stops answering or answers again.
func (a *Agent) Wake() <-chan struct{} { return a.stores.listen() }

// Manifests returns the world of what the node says of itself: its LinkReport,
// and the fields of its Node that it applies by way of nodes/status.
func (a *Agent) Manifests(fieldManager string) reconcile.World[[]plan.Manifest] {
	return &world{client: a.client, stores: a.stores, scope: Scope{
		Manager: fieldManager,
		Parts:   []Part{{nodeKind.name, "status"}, {reportKind.name, ""}},
	}}
}

// trimAgent drops what grows with the number of writers: on DomainSlices the
// agent owns nothing.
func trimAgent(o any) (any, error) {
	switch o := o.(type) {
	case *v1alpha1.DomainSlice:
		o.ManagedFields = nil
	case *corev1.Node:
		o.Status.Images = nil
	}
	return o, nil
}
