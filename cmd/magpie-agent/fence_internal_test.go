// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
)

// fenceAgent is an agent as far as openFence needs it.
func fenceAgent(t *testing.T, how, dir string) *agent {
	t.Helper()
	c := Default()
	c.Fence, c.StateDir = how, dir
	a := &agent{node: "a-1", config: c, log: slog.New(slog.DiscardHandler), account: &rest.Config{Host: "https://127.0.0.1:1"}}
	if err := a.openFence(); err != nil {
		t.Fatal(err)
	}
	return a
}

func fenceView(domains ...fleet.Domain) func() (fleet.View, error) {
	return func() (fleet.View, error) {
		return fleet.View{Self: fleet.Self{Node: "a-1"}, Settings: fleet.Settings{Fence: true}, Domains: domains}, nil
	}
}

func listening(list string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{"nodeport.openyurt.io/listen": list}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}}},
	}
}

// TestFenceWaits: while it is not known which Services there are, or where the
// node is, a round ends without touching anything.
func TestFenceWaits(t *testing.T) {
	a := fenceAgent(t, fenceNFTables, t.TempDir())
	here := fleet.Domain{Nodes: []fleet.Node{{Name: "a-1", Pool: "shop-a"}}}
	notReady := func(what string, view func() (fleet.View, error)) {
		t.Helper()
		if _, err := a.fence.read(view); !errors.Is(err, reconcile.ErrNotReady) {
			t.Errorf("%s: %v", what, err)
		}
	}
	notReady("no view", func() (fleet.View, error) { return fleet.View{}, reconcile.ErrNotReady })
	notReady("no Services", fenceView(here))
	wake := a.fence.bell.listen()
	if err := a.fence.own.Into(hub.Services).Replace([]any{listening("shop-b")}, "7"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-wake:
	default:
		t.Error("the first list wakes nobody")
	}
	notReady("in no domain", fenceView())
	in, err := a.fence.read(fenceView(here))
	if err != nil {
		t.Fatal(err)
	}
	if p := topology.Close(in.view, in.services); len(p.Members) != 1 {
		t.Errorf("want one closed port, got %s", p.Text())
	}
	// Fenced, the Service looks to the hub's readers as before: the fence must hear.
	moved := listening("shop-b")
	moved.Spec.Ports[0].NodePort = 30081
	if err := a.fence.own.Into(hub.Services).Update(moved); err != nil {
		t.Fatal(err)
	}
	select {
	case <-wake:
	default:
		t.Error("another NodePort wakes nobody")
	}
}

// TestFenceOff: nobody watches Services for it, and nothing is wanted, so that
// what an earlier setting has left goes.
func TestFenceOff(t *testing.T) {
	dir := t.TempDir()
	a := fenceAgent(t, fenceHub, dir)
	if a.fence.own != nil {
		t.Error("a Store is kept for nothing")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left on disk: %v, %v", left, err)
	}
	off := func() (fleet.View, error) { return fleet.View{Self: fleet.Self{Node: "a-1"}}, nil }
	in, err := a.fence.read(off)
	if p := topology.Close(in.view, in.services); err != nil || len(plan.Diff(plan.Plan{}, p)) > 0 {
		t.Errorf("%v: %s", err, p.Text())
	}
}

// TestFenceFromDisk: an agent that starts without an API server knows the
// Services of the one before it, and only those are kept.
func TestFenceFromDisk(t *testing.T) {
	dir := t.TempDir()
	before := fenceAgent(t, fenceNFTables, dir)
	if _, err := before.fence.services(); !errors.Is(err, hub.ErrNotReady) {
		t.Fatal(err)
	}
	if err := before.fence.own.Into(hub.Services).Replace([]any{listening("shop-b")}, "7"); err != nil {
		t.Fatal(err)
	}
	runStore(t, before.fence.own, func() bool {
		_, err := os.Stat(filepath.Join(dir, "hub-state", "services.truth"))
		return err == nil
	})
	after := fenceAgent(t, fenceNFTables, dir)
	runStore(t, after.fence.own, func() bool {
		services, err := after.fence.services()
		return err == nil && len(services) == 1 && services[0].Spec.Ports[0].NodePort == 30080
	})
	for _, s := range after.fence.own.Stats() {
		if s.Kind != hub.Services && s.Objects > 0 {
			t.Errorf("%s are kept, too", s.Kind.Resource)
		}
	}
}

// runStore runs a Store until something is so.
func runStore(t *testing.T, s *hub.Store, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	until(t, "the Store has it", func() bool { time.Sleep(20 * time.Millisecond); return done() })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
