// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
)

// fence closes NodePorts in nftables. The zero value is one that is switched
// off: its loop takes away what an earlier setting has left.
type fence struct {
	services func() ([]*corev1.Service, error)
	// own is the Store behind services where no hub has one; else nil.
	own  *hub.Store
	bell bell // rings when Services change, the View or the kernel
}

// fenced is what the fence of a node is planned from.
type fenced struct {
	view     fleet.View
	services []*corev1.Service
}

// changed is called when Services have changed.
func (f *fence) changed() { f.bell.ring() }

// openFence finds out where Services come from: the hub's Store, or one like it
// that nobody is served from. It keeps nothing but Services, and has them from disk when the cloud is away.
func (a *agent) openFence() error {
	if a.config.Fence != fenceNFTables {
		return nil
	}
	if a.hub != nil {
		a.fence.services = a.hub.store.Services
		return nil
	}
	dir := filepath.Join(a.config.StateDir, filepath.Base(api.DirHubState))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory of the fence: %w", err)
	}
	name, err := clusterName(a.account)
	if err != nil {
		return err
	}
	a.fence.own = hub.New(hub.Options{
		Node: a.node, Config: a.account, Log: a.log.With("loop", "fence"), Now: now, Dir: dir, Cluster: name,
		Begin: []hub.Kind{hub.Services}, Changed: a.fence.changed,
	})
	a.fence.services = a.fence.own.Services
	return nil
}

// fenceLoop keeps the table equal to what Services say. It has a bell of its
// own: Services change more often than what the other loops look at.
func (a *agent) fenceLoop() func(context.Context) error {
	j := &judge{conditions: a.vitals.conditions}
	l := &reconcile.Loop[fenced, plan.Plan]{
		Name: "fence", World: a.host.Own(topology.Owner), Gap: gap, Every: every,
		Read: func() (fenced, error) { return a.fence.read(a.source.Read) },
		Desire: func(f fenced) (plan.Plan, error) {
			p := topology.Close(f.view, f.services)
			j.wants(p)
			return p, nil
		},
		Wake:   a.fence.bell.listen(),
		Report: func(r reconcile.Round) { a.vitals.report(r); j.round(r) },
	}
	return l.Run
}

// read returns ErrNotReady until the Services and the node's place are known.
// What an earlier process has closed stays closed that long.
func (f *fence) read(view func() (fleet.View, error)) (fenced, error) {
	v, err := view()
	if err != nil || !v.Settings.Fence {
		return fenced{view: v}, err
	}
	if _, _, known := v.Node(v.Self.Node); !known {
		return fenced{}, fmt.Errorf("pool of node %s: %w", v.Self.Node, reconcile.ErrNotReady)
	}
	services, err := f.services()
	if errors.Is(err, hub.ErrNotReady) {
		err = fmt.Errorf("%w: %w", reconcile.ErrNotReady, err)
	}
	return fenced{v, services}, err
}
