// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestKernelConf compares the settings that the kernel tells with a device, and
// those that are set by a message, to the files below /proc/sys: in the host and
// in a pod, with two values each, so that no default is taken for ours.
func TestKernelConf(t *testing.T) {
	kernel.Need(t, kernel.FeatureVeth)
	h := newHost(t, kernel.Options{})
	ns, host := sandbox.Namespace(t, "pod1"), "/run/netns/host"
	var keys []plan.SysctlKey
	w := h.Own(podOwner,
		kernel.WithNamespaces(func() []string { return []string{ns} }),
		kernel.WithSysctls(func() []plan.SysctlKey { return keys }))
	converge(t, w, pod(ns, 1))
	ask := func(values string) (out []plan.Sysctl) {
		for _, end := range []struct{ ns, dev string }{{"", "magp1"}, {ns, "eth0"}} {
			for word := range strings.FieldsSeq(values) {
				name, value, _ := strings.Cut(word, "=")
				name = strings.Replace("net/"+name, "conf/", "conf/"+end.dev+"/", 1)
				out = append(out, plan.Sysctl{NS: end.ns, Name: name, Value: value})
			}
		}
		return out
	}
	file := func(s plan.Sysctl, do func(path string) error) {
		t.Helper()
		path := host
		if s.NS != "" {
			path = s.NS
		}
		sandbox.In(t, path, func() error { return do("/proc/sys/" + s.Name) })
	}
	first := ask("ipv4/conf/rp_filter=2 ipv4/conf/route_localnet=1 ipv6/conf/accept_ra=2 ipv6/conf/disable_ipv6=1 ipv6/conf/accept_dad=2")
	second := ask("ipv4/conf/rp_filter=1 ipv4/conf/route_localnet=0 ipv6/conf/accept_ra=0 ipv6/conf/disable_ipv6=0 ipv6/conf/accept_dad=0")
	for i, byFile := range [][]plan.Sysctl{first, second} {
		byDoor := [][]plan.Sysctl{second, first}[i]
		keys = nil
		for _, s := range byFile {
			keys = append(keys, s.Key())
			file(s, func(path string) error { return os.WriteFile(path, []byte(s.Value), 0o600) })
		}
		have, err := w.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := plan.Plan{Sysctls: byFile}
		kernel.Sort(&want)
		if diff := cmp.Diff(want.Sysctls, have.Sysctls); diff != "" {
			t.Errorf("as files have them and as the door tells them (-want +got):\n%s", diff)
		}
		if _, err := w.Apply(t.Context(), plan.Plan{}, plan.Plan{Sysctls: byDoor}); err != nil {
			t.Fatal(err)
		}
		for _, s := range byDoor {
			file(s, func(path string) error {
				b, err := os.ReadFile(path)
				if got := strings.TrimSpace(string(b)); got != s.Value {
					t.Errorf("%s is %s after the door has set it to %s", path, got, s.Value)
				}
				return err
			})
		}
	}
}

// TestKernelPodQuiet wants the host's end of a pod to have no IPv6 address of
// its own, and both ends to be up.
func TestKernelPodQuiet(t *testing.T) {
	kernel.Need(t, kernel.FeatureVeth)
	h := newHost(t, kernel.Options{})
	ns := sandbox.Namespace(t, "pod1")
	w := h.Own(podOwner, kernel.WithNamespaces(func() []string { return []string{ns} }))
	converge(t, w, pod(ns, 1))
	settled(t, w, pod(ns, 1))
	if got := sandbox.Run(t, "ip -n host -6 -o addr show dev magp1"); strings.TrimSpace(got) != "" {
		t.Errorf("the host's end has %s", got)
	}
	if got := sandbox.Run(t, "ip -n host -o link show dev magp1"); !strings.Contains(got, "LOWER_UP") {
		t.Errorf("the pair is not up: %s", got)
	}
}
