// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cni"
)

// TestKernelNear wants a round that comes while pods do to see every damage in
// the host, and damage inside of a pod to wait for the round after it.
func TestKernelNear(t *testing.T) {
	n := newNode(t)
	p := n.added(nil)
	n.repair() // leaves the new pod in peace
	dev := cni.Key{Container: p.rt.ContainerID, IfName: "eth0"}.HostDevice()
	host, inner := name(n.ns), name(p.rt.NetNS)
	round := func(want string) {
		t.Helper()
		if steps := n.repair(); steps == 0 != (want == "nothing") {
			t.Errorf("%d steps, want %s", steps, want)
		}
	}
	n.mu.Lock()
	n.still = time.Now()
	n.mu.Unlock()
	round("nothing")
	n.added(nil) // a verb at work
	run(t, "ip", "-n", host, "route", "del", p.ip4.String())
	round("a repair")
	n.added(nil) // a verb at work
	run(t, "ip", "-n", host, "link", "del", dev)
	round("the pair made again, with all that was inside")
	if err := p.check(); err != nil {
		t.Error(err)
	}
	n.added(nil) // a verb at work
	run(t, "ip", "-n", inner, "route", "del", "default")
	round("nothing")
	round("a repair")
	if err := p.check(); err != nil {
		t.Error(err)
	}
	round("nothing")
}
