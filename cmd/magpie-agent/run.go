// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/tunnel/mesh"
	"github.com/magpie-edge/magpie/tunnel/wire"
	"github.com/magpie-edge/magpie/vxlan"
)

// How often loops look. Every wake is answered after gap at the latest; every
// is what a lost wake costs, and how soon a change is seen that wakes nobody
// (WireGuard's configuration).
const (
	gap   = 50 * time.Millisecond
	every = 30 * time.Second
)

// run is the table of contents of a node.
func run(ctx context.Context, c Config, node string, log *slog.Logger) error {
	if node == "" {
		return errors.New("no node name; set --node-name or $NODE_NAME (the chart does, by the downward API)")
	}
	keys, err := openKeyring(filepath.Join(c.StateDir, filepath.Base(api.FileKey)))
	if err != nil {
		return err
	}
	host, err := kernel.Open(kernel.Options{Log: log, Keys: keys, Userspace: wire.UserspaceWireGuard{Log: log}})
	if err != nil {
		return err
	}
	defer host.Close()
	account, err := account(c)
	if err != nil {
		return err
	}
	door, err := cluster.NewAgent(account, node, log)
	if err != nil {
		return err
	}
	a := &agent{config: c, node: node, log: log, keys: keys, host: host, api: door, account: account}
	return a.run(ctx)
}

// agent is what the loops of one node share.
type agent struct {
	config Config
	node   string
	log    *slog.Logger
	keys   *keyring
	host   *kernel.Host
	api    *cluster.Agent
	// account is how to reach the API server.
	account *rest.Config

	bell    bell
	vitals  *vitals
	source  *source
	hearing hearing
	pods    *cni.Server
	// The node's end of the O&M tunnel; both nil where it is switched off.
	tunnel       *omTunnel
	certificates *cluster.Certificates
	hub          *nodeHub // nil where it is switched off
	fence        fence
}

func (a *agent) run(ctx context.Context) error {
	a.vitals = newVitals(a.log, "vxlan", "mesh", "cni", "hub", "fence")
	a.source = &source{
		objects: a.api.Objects, host: a.lookAround, settings: a.settings(),
		path: filepath.Join(a.config.StateDir, filepath.Base(api.FileView)),
		log:  a.log, changed: a.bell.ring, note: a.vitals.note, judge: a.judgeView,
	}
	if err := a.openPods(); err != nil {
		return err
	}
	if err := a.openTunnel(); err != nil {
		return err
	}
	if err := a.openHub(); err != nil {
		return err
	}
	if err := a.openFence(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	start := func(f func(context.Context) error) { group.Go(func() error { return f(ctx) }) }

	start(loop(a, "vxlan", gap, vxlan.Plan, a.host.Own(vxlan.Owner)))
	start(loop(a, "mesh", gap, mesh.Plan, a.host.Own(mesh.Owner)))
	start(loop(a, "cni", cni.RepairGap, a.pods.Desire, a.pods.World()))
	start(loop(a, "hub", gap, client.Plan, a.host.Own(client.Owner)))
	start(a.fenceLoop())
	start(a.publishLoop())

	looks, heard := a.bell.listen(), a.bell.listen()
	start(func(ctx context.Context) error { a.source.Run(ctx, looks); return nil })
	start(func(ctx context.Context) error { a.fence.bell.follow(ctx, heard); return nil })
	start(func(ctx context.Context) error { a.bell.follow(ctx, a.host.Watch(ctx)); return nil })
	start(func(ctx context.Context) error { a.bell.follow(ctx, a.api.Wake()); return nil })
	start(a.listen)
	start(a.api.Run)
	start(a.servePods)
	if a.tunnel != nil {
		start(a.certificates.Run)
		start(a.tunnel.run)
		start(a.tunnel.runRelay)
	}
	if a.hub != nil {
		start(a.hub.run)
	}
	if a.fence.own != nil {
		start(a.fence.own.Run)
	}
	start(func(ctx context.Context) error { return a.vitals.serve(ctx, api.PortAgentHealth) })
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil // told to stop
	}
	return err
}

// loop keeps one owner's part of the kernel equal to what its planner wants.
func loop(a *agent, name string, gap time.Duration, desire func(fleet.View) (plan.Plan, error), world reconcile.World[plan.Plan]) func(context.Context) error {
	j := &judge{conditions: a.vitals.conditions}
	noted := func(v fleet.View) (plan.Plan, error) {
		p, err := desire(v)
		a.vitals.note(name, p.Notes)
		j.wants(p)
		return p, err
	}
	report := func(r reconcile.Round) {
		a.vitals.report(r)
		j.round(r)
	}
	l := &reconcile.Loop[fleet.View, plan.Plan]{
		Name: name, Read: a.source.Read, Desire: noted, World: world,
		Wake: a.bell.listen(), Gap: gap, Every: every, Report: report,
	}
	return l.Run
}

// publishLoop tells the cluster about this node. It is the only loop that
// needs the API server.
func (a *agent) publishLoop() func(context.Context) error {
	l := &reconcile.Loop[published, []plan.Manifest]{
		Name: "publish", Read: a.readPublished, Desire: manifests, World: a.api.Manifests(fieldManager),
		Wake: a.bell.listen(), Gap: time.Second, Every: every, Report: a.vitals.report,
	}
	return l.Run
}

// judgeView follows how the source reads the fleet.
func (a *agent) judgeView(v *fleet.View, err error) {
	lost, cause := a.api.Lost()
	a.vitals.conditions.view(v, err, lost, cause)
}

func (a *agent) readPublished() (published, error) {
	v, err := a.source.Read()
	if err != nil {
		return published{}, err
	}
	objects, err := a.api.Objects()
	if err != nil {
		return published{}, err
	}
	p := published{view: v, node: objects.Node, now: time.Now()} //nolint:forbidigo // where time enters
	if p.peers, p.driver, err = a.sessions(); err != nil {
		return published{}, fmt.Errorf("look at the peers: %w", err)
	}
	a.hearing.heard(p.peers)
	p.conditions, p.notes = a.vitals.conditions.reported(), a.vitals.reportedNotes(a.node)
	return p, nil
}
