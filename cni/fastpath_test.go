// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"context"
	"testing"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
)

// withFastPath makes the node anew, with a fast path.
func (n *node) withFastPath() {
	n.t.Helper()
	kernel.Need(n.t, kernel.FeatureFastPath)
	n.stop()
	n.mu.Lock()
	n.view.Settings.FastPath = true
	n.mu.Unlock()
	n.start()
}

// fast is what the kernel has of the pods' fast path.
func (n *node) fast() (programs, shortcuts int) {
	n.t.Helper()
	have, err := n.own.Observe(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return len(have.Programs), len(have.Shortcuts)
}

// TestKernelFastPathPod: a pod has its part of the fast path from the first round
// after ADD to DEL,
// over a restart of the agent; also one whose namespace went first leaves no
// shortcut to nowhere.
func TestKernelFastPathPod(t *testing.T) {
	n := newNode(t)
	n.withFastPath()
	before := n.snapshot()
	first, second := n.added(nil), n.added(nil)
	for _, p := range []*pod{first, second} {
		if err := p.check(); err != nil {
			t.Errorf("before the first round: %v", err)
		}
	}
	n.repair()
	if p, s := n.fast(); p != 2 || s != 4 {
		t.Errorf("two pods have %d programs and %d shortcuts", p, s)
	}
	n.stop()
	n.start()
	if steps := n.repair(); steps != 0 {
		t.Errorf("%d steps after a restart", steps)
	}
	for _, p := range []*pod{first, second} {
		if err := p.check(); err != nil {
			t.Error(err)
		}
	}
	run(t, "ip", "-n", name(n.ns), "link", "del", (cni.Key{Container: second.rt.ContainerID, IfName: second.rt.IfName}).HostDevice())
	for _, p := range []*pod{first, second} {
		if err := p.del(); err != nil {
			t.Error(err)
		}
	}
	if p, s := n.fast(); p != 0 || s != 0 {
		t.Errorf("no pods have %d programs and %d shortcuts", p, s)
	}
	if after := n.snapshot(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// noPrograms is a kernel that takes everything but programs.
type noPrograms struct{ reconcile.World[plan.Plan] }

func (w noPrograms) Apply(ctx context.Context, have, want plan.Plan) (int, error) {
	if len(want.Programs) > 0 {
		return 0, errBroken
	}
	return w.World.Apply(ctx, have, want)
}

// TestKernelFastPathFails: an ADD does not depend on the fast path.
func TestKernelFastPathFails(t *testing.T) {
	n := newNode(t)
	n.wrap = func(w reconcile.World[plan.Plan]) reconcile.World[plan.Plan] { return noPrograms{w} }
	n.withFastPath()
	p := n.added(nil)
	if err := p.del(); err != nil {
		t.Error(err)
	}
}
