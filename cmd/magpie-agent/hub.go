// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/hub/access"
	"github.com/magpie-edge/magpie/hub/cert"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/hub/serve"
	"github.com/magpie-edge/magpie/topology"
)

// judgeEvery is how often the hub's health is judged and its files are looked
// after; serveAgain, how long to wait before listening is tried again.
const (
	judgeEvery = 5 * time.Second
	serveAgain = 2 * time.Second
)

// nodeHub is the hub of this node: it follows the fleet, answers callers, and
// keeps the files that lead them here.
type nodeHub struct {
	node string
	log  *slog.Logger
	view func() (fleet.View, error)
	// views receives when the View may have changed.
	views      <-chan struct{}
	conditions *conditions
	// dir is where callers find the files, state what is for nobody else.
	dir, state string
	account    *rest.Config
	listen     []netip.AddrPort
	grace      time.Duration
	// changed, which may be nil, is told when Services change.
	changed func()

	store  *hub.Store
	review *access.Reviewer
	certs  *cert.Keeper
	warner *warner
	lists  prometheus.Histogram
	server atomic.Pointer[serve.Server]
	fault  atomic.Pointer[error] // why nobody is served; nil: somebody is

	// Of follow's goroutine.
	pools map[string]string // as the Store was last told
}

// openHub makes the hub, or takes away what leads callers to it.
func (a *agent) openHub() error {
	dir := filepath.Join(a.config.StateDir, filepath.Base(api.DirHub))
	if !a.config.Hub.Enabled {
		return removeHubFiles(dir)
	}
	h, err := newHub(&nodeHub{
		node: a.node, log: a.log.With("loop", "hub"), view: a.source.Read,
		conditions: a.vitals.conditions, dir: dir,
		state:   filepath.Join(a.config.StateDir, filepath.Base(api.DirHubState)),
		account: a.account, listen: hubPorts(), grace: a.config.Hub.grace(), changed: a.fence.changed,
	})
	if err != nil {
		return err
	}
	h.views = a.bell.listen()
	a.vitals.metrics.MustRegister(newHubMetrics(h))
	a.hub = h
	return nil
}

// hubPorts are where the hub of a node listens.
func hubPorts() []netip.AddrPort {
	var out []netip.AddrPort
	for _, addr := range client.Addrs() {
		out = append(out, netip.AddrPortFrom(addr, api.PortHub))
	}
	return out
}

// newHub makes what is behind the hub; run starts it.
func newHub(h *nodeHub) (*nodeHub, error) {
	for _, dir := range []string{h.dir, h.state} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make directory of the hub: %w", err)
		}
	}
	addrs := make([]netip.Addr, 0, len(h.listen))
	for _, l := range h.listen {
		addrs = append(addrs, l.Addr())
	}
	var err error
	h.certs, err = cert.New(cert.Options{
		Dir: filepath.Join(h.state, "tls"), Node: h.node, Addrs: addrs, Names: []string{"localhost"}, Now: now, Log: h.log,
	})
	if err != nil {
		return nil, err
	}
	h.review, err = access.New(access.Options{
		Config: h.account, Path: filepath.Join(h.state, "callers.json"), Grace: h.grace, Now: now, Log: h.log,
	})
	if err != nil {
		return nil, err
	}
	if h.warner, err = newWarner(h.account, h.node, h.log); err != nil {
		return nil, err
	}
	name, err := clusterName(h.account)
	if err != nil {
		return nil, err
	}
	h.store = hub.New(hub.Options{
		Node: h.node, Config: h.account, Log: h.log, Now: now, Dir: h.state, Cluster: name, Note: h.warner.warn, Changed: h.changed,
	})
	h.lists = newListHistogram()
	h.fail(errors.New("it has not begun to listen"))
	return h, nil
}

// clusterName tells clusters apart by their authority: what another one has
// left on the disk of a node is not to be shown.
func clusterName(c *rest.Config) (string, error) {
	text := c.CAData
	if len(text) == 0 && c.CAFile != "" {
		var err error
		if text, err = os.ReadFile(c.CAFile); err != nil {
			return "", fmt.Errorf("read authority of the api server: %w", err)
		}
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// run serves until ctx ends. Nothing that goes wrong with the hub ends it: the
// node's pod network is in the same process.
func (h *nodeHub) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, f := range []func(context.Context) error{
		h.store.Run, h.review.Run, h.certs.Run, h.warner.run, h.follow, h.serve,
	} {
		group.Go(func() error { return f(ctx) })
	}
	return group.Wait()
}

// serve answers callers, and begins again when that ends.
func (h *nodeHub) serve(ctx context.Context) error {
	for ctx.Err() == nil {
		err := h.serveOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		h.log.Warn("the hub does not listen, trying again", "err", err)
		h.fail(err)
		select {
		case <-ctx.Done():
		case <-time.After(serveAgain):
		}
	}
	return ctx.Err()
}

func (h *nodeHub) serveOnce(ctx context.Context) error {
	server, err := serve.New(serve.Options{
		Store: h.store, Upstream: h.account, Review: h.review, Node: h.node,
		Certificate: h.certs.GetCertificate, Now: now, Log: h.log,
		Listed: func(took time.Duration) { h.lists.Observe(took.Seconds()) },
	})
	if err != nil {
		return err
	}
	l, err := listenAll(ctx, h.listen, h.near)
	if err != nil {
		return err
	}
	h.server.Store(server)
	h.fault.Store(nil)
	h.log.Info("the hub listens", "addresses", h.listen)
	return server.Serve(ctx, l)
}

func (h *nodeHub) fail(err error) { h.fault.Store(&err) }

// near reports whether a caller is on this node: the node itself, or one of its
// pods. Others on the site's network could send packets to the address, too,
// and the hub must not be their way to the API server.
func (h *nodeHub) near(caller, at netip.Addr) bool {
	if caller.IsLoopback() || caller == at {
		return true
	}
	v, err := h.view()
	if err != nil {
		return false
	}
	for _, p := range v.Self.PodCIDRs {
		if p.Contains(caller) {
			return true
		}
	}
	return false
}

// follow tells the Store where nodes are, and looks after the files.
func (h *nodeHub) follow(ctx context.Context) error {
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	for {
		h.place()
		h.judge(h.writeFiles())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.views:
		case <-tick.C:
		}
	}
}

// place tells the Store when a node is in another pool than before. The bell
// rings for much else.
func (h *nodeHub) place() {
	v, err := h.view()
	if err != nil {
		return // not synced: the Store shows nothing that depends on it
	}
	pools := map[string]string{}
	for _, d := range v.Domains {
		for _, n := range d.Nodes {
			pools[n.Name] = n.Pool
		}
	}
	if h.pools != nil && maps.Equal(pools, h.pools) {
		return
	}
	h.pools = pools
	h.store.Place(topology.Place{Node: h.node, Pool: pools[h.node], PoolOf: func(node string) string { return pools[node] }})
}

// writeFiles writes those that are not as they should be.
func (h *nodeHub) writeFiles() error {
	var errs []error
	for _, f := range client.Files(string(h.certs.Bundle())) {
		path := filepath.Join(h.dir, f.Name)
		if have, err := os.ReadFile(path); err == nil && string(have) == f.Text {
			continue
		}
		errs = append(errs, writeFile(path, []byte(f.Text), 0o644))
	}
	return errors.Join(errs...)
}

// removeHubFiles takes the files away, those that name others first.
func removeHubFiles(dir string) error {
	files := client.Files("")
	var errs []error
	for i := range files {
		err := os.Remove(filepath.Join(dir, files[len(files)-1-i].Name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove file of the hub: %w", err))
		}
	}
	return errors.Join(errs...)
}
