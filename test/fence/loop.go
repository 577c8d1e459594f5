// SPDX-License-Identifier: Apache-2.0

package fence

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
)

// Node is the name of the node.
const Node = "a-1"

// Fencer is the fence of the node: the agent's loop over a Store of its own.
type Fencer struct {
	mu   sync.Mutex
	pool string
	on   bool
	wake chan struct{}

	// Rounds have ended.
	Rounds atomic.Int64
}

func (f *Fencer) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Set says in which pool the node is and whether there is a fence.
func (f *Fencer) Set(pool string, on bool) {
	f.mu.Lock()
	f.pool, f.on = pool, on
	f.mu.Unlock()
	f.ring()
}

// View is the fleet as the node sees it.
func (f *Fencer) View() fleet.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fleet.View{
		Self: fleet.Self{Node: Node}, Settings: fleet.Settings{Fence: f.on},
		Domains: []fleet.Domain{{Nodes: []fleet.Node{{Name: Node, Pool: f.pool}}}},
	}
}

// NewFencer is of a node of that pool.
func NewFencer(pool string) *Fencer {
	return &Fencer{pool: pool, on: true, wake: make(chan struct{}, 1)}
}

// fenced is what the loop reads.
type fenced struct {
	view     fleet.View
	services []*corev1.Service
}

// Begin runs the loop over Services that are read by cfg, if it is not nil, and
// kept in dir, until stop is called.
func (f *Fencer) Begin(tb testing.TB, cfg *rest.Config, dir string) (store *hub.Store, stop func()) {
	tb.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store = hub.New(hub.Options{Node: Node, Config: cfg, Log: quiet, Now: time.Now, Dir: dir, Cluster: "lab", Changed: f.ring})
	host, err := kernel.Open(kernel.Options{Log: quiet})
	if err != nil {
		tb.Fatal(err)
	}
	l := &reconcile.Loop[fenced, plan.Plan]{
		Name: "fence", Gap: 50 * time.Millisecond, Every: 30 * time.Second, Wake: f.wake, World: host.Own(topology.Owner),
		Read: func() (fenced, error) {
			services, err := store.Services()
			if errors.Is(err, hub.ErrNotReady) {
				err = reconcile.ErrNotReady
			}
			return fenced{f.View(), services}, err
		},
		Desire: func(in fenced) (plan.Plan, error) { return topology.Close(in.view, in.services), nil },
		Report: func(reconcile.Round) { f.Rounds.Add(1) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = store.Run(ctx) })
	all.Go(func() { _ = l.Run(ctx) })
	all.Go(func() {
		for range host.Watch(ctx) {
			f.ring()
		}
	})
	stop = sync.OnceFunc(func() { cancel(); all.Wait(); host.Close() })
	tb.Cleanup(stop)
	return store, stop
}
