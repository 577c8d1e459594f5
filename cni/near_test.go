// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cni"
)

// TestKernelNear wants rounds that follow a full one to see every damage in
// the host at once, and damage inside of a pod at the next full one.
func TestKernelNear(t *testing.T) {
	n := newNode(t)
	p := n.added(nil)
	n.added(nil)
	n.repair() // leaves the new pods in peace
	dev := cni.Key{Container: p.rt.ContainerID, IfName: "eth0"}.HostDevice()
	host, inner := name(n.ns), name(p.rt.NetNS)
	round := func(want string) {
		t.Helper()
		if steps := n.repair(); steps == 0 != (want == "nothing") {
			t.Errorf("%d steps, want %s", steps, want)
		}
	}
	round("nothing")
	run(t, "ip", "-n", host, "route", "del", p.ip4.String())
	round("a repair")
	run(t, "ip", "-n", host, "link", "del", dev)
	round("the pair made again, with all that was inside")
	if err := p.check(); err != nil {
		t.Error(err)
	}
	run(t, "ip", "-n", inner, "route", "del", "default")
	round("nothing")
	n.mu.Lock()
	n.clock += 30 * time.Second
	n.mu.Unlock()
	round("a repair")
	if err := p.check(); err != nil {
		t.Error(err)
	}
	round("nothing")
}
