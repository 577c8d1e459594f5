// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cni"
)

// TestKernelPace wants rounds to follow each other slowly while pods come and
// go, at once when they do not, and never so slowly that damage stays a second.
func TestKernelPace(t *testing.T) {
	n := newNode(t)
	p := n.added(nil)
	n.repair() // leaves the new pod in peace
	dev := cni.Key{Container: p.rt.ContainerID, IfName: "eth0"}.HostDevice()
	host, inner := name(n.ns), name(p.rt.NetNS)
	round := func(steps bool) time.Duration {
		t.Helper()
		start := time.Now()
		if got := n.repair(); got != 0 != steps {
			t.Errorf("%d steps, want some: %v", got, steps)
		}
		return time.Since(start)
	}
	round(false)
	if took := round(false); took > 300*time.Millisecond {
		t.Errorf("a round on a quiet node took %v", took)
	}
	for _, damage := range [][]string{
		{"ip", "-n", host, "route", "del", p.ip4.String()},
		{"ip", "-n", inner, "route", "del", "default"},
		{"ip", "-n", host, "link", "del", dev},
	} {
		n.added(nil) // a verb at work
		run(t, damage...)
		if took := round(true); took < 400*time.Millisecond || took > time.Second {
			t.Errorf("%v: a round while pods come took %v, want it to rest and still be done in a second", damage, took)
		}
		if err := p.check(); err != nil {
			t.Error(damage, err)
		}
		round(false)
	}
}
