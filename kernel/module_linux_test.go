// SPDX-License-Identifier: Apache-2.0

//go:build vm

// Only in the machine of test/vm: a test that unloads modules.

package kernel_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestKernelWireGuardComesLater: a node that has begun without the module gets
// it while its agent runs. The device stays where it is; one that has to be made
// anew is the kernel's, and the running agent can configure it.
func TestKernelWireGuardComesLater(t *testing.T) {
	const loader = "/proc/sys/kernel/modprobe"
	program, err := os.ReadFile(loader)
	if err != nil {
		t.Fatal(err)
	}
	load := func(program []byte) {
		if err := os.WriteFile(loader, program, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k := keys{}
	h := newHost(t, kernel.Options{Keys: k, Userspace: userspace()})
	sandbox.Run(t, "modprobe -a wireguard")
	sandbox.Run(t, "rmmod wireguard")
	load([]byte("/usr/bin/false\n"))
	t.Cleanup(func() { load(program) })

	w := h.Own(meshOwner)
	self, a := newKey(t, k), newKey(t, k)
	want := plan.Plan{
		Devices: []plan.Device{{Name: "mag-wg0", Kind: plan.WireGuard, MTU: 1400, ListenPort: 45001, PublicKey: self}},
		Peers:   []plan.Peer{{Dev: "mag-wg0", PublicKey: a}},
		Allowed: []plan.Allowed{{Dev: "mag-wg0", Prefix: netip.MustParsePrefix("10.42.2.0/24"), Peer: a}},
	}
	converge(t, w, want)
	settled(t, w, want)
	spokenBy(t, h, kernel.DriverUserspace)
	load(program)
	if n := converge(t, w, want); n != 0 {
		t.Errorf("a module that came made %d writes", n)
	}
	spokenBy(t, h, kernel.DriverUserspace)
	sandbox.Run(t, "modprobe -a wireguard") // as somebody does who installs it
	sandbox.Run(t, "ip -n host link del mag-wg0")
	converge(t, w, want)
	settled(t, w, want)
	spokenBy(t, h, kernel.DriverKernel)
}
