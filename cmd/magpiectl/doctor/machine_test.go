// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cmd/magpiectl/doctor"
)

// TestMachine looks at nodes that differ from a good one in some files or in
// what their agent says.
func TestMachine(t *testing.T) {
	const (
		networkd = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
		fragment = "etc/systemd/networkd.conf.d/magpie.conf"
		hubCA    = "var/lib/magpie/hub/ca.crt"
	)
	good := func() map[string]string {
		return map[string]string{
			"run/systemd/netif/state": "x", fragment: networkd,
			"proc/sys/net/ipv4/ip_forward": "1\n", "etc/cni/net.d/05-magpie.conflist": "{}", "etc/cni/net.d/README": "",
		}
	}
	for _, c := range []struct {
		name              string
		files             map[string]string // over those of a good node; "" removes
		ready, conditions string
		silent            bool
		hub               int      // its answer; 0: connection refused
		want              []string // codes, in order
	}{
		{name: "good"},
		{name: "without networkd", files: map[string]string{"run/systemd/netif/state": "", fragment: ""}},
		{name: "networkd by default", files: map[string]string{fragment: ""}, want: []string{"networkd-removes-routes"}},
		{name: "another section", files: map[string]string{fragment: "[DHCPv4]\nManageForeignRoutes=no\n"}, want: []string{"networkd-removes-routes"}},
		{
			name:  "a later fragment takes it back",
			files: map[string]string{"usr/lib/systemd/networkd.conf.d/zz.conf": "[Network]\nManageForeignRoutes = yes\n"},
			want:  []string{"networkd-removes-routes"},
		},
		{
			name: "that fragment is masked in etc",
			files: map[string]string{
				"usr/lib/systemd/networkd.conf.d/zz.conf": "[Network]\nManageForeignRoutes=yes\n",
				"etc/systemd/networkd.conf.d/zz.conf":     "# masked\n",
			},
		},
		{name: "main file", files: map[string]string{fragment: "", "etc/systemd/networkd.conf": networkd}},
		{name: "forwarding", files: map[string]string{"proc/sys/net/ipv4/ip_forward": "0\n"}, want: []string{"forwarding-off"}},
		{name: "old plug-in", files: map[string]string{"etc/cni/net.d/00-flannel.conf": "{}"}, want: []string{"cni-shadowed"}},
		{name: "later plug-in", files: map[string]string{"etc/cni/net.d/10-flannel.conflist": "{}"}},
		{name: "no plug-in", files: map[string]string{"etc/cni/net.d/05-magpie.conflist": ""}, want: []string{"cni-shadowed"}},
		{name: "no agent", silent: true, files: map[string]string{"proc/sys/net/ipv4/ip_forward": "0\n"}, want: []string{"agent-silent"}},
		{name: "not ready", ready: "vxlan: add route: no buffer space", want: []string{"loop-failing"}},
		{name: "hub", hub: 401, files: map[string]string{hubCA: "PEM"}},
		{name: "no hub, and nothing leads to one", files: map[string]string{"var/lib/magpie/hub/other": "x"}},
		{name: "hub is silent", files: map[string]string{hubCA: "PEM"}, want: []string{"hub-down"}},
		{name: "another has its port", hub: 200, files: map[string]string{hubCA: "PEM"}, want: []string{"hub-down"}},
		{name: "hub and agent are silent", silent: true, files: map[string]string{hubCA: "PEM"}, want: []string{"agent-silent"}},
		{
			name: "hub is silent, and the agent says why", files: map[string]string{hubCA: "PEM"},
			conditions: "error hub-down: the node's hub does not answer kube-proxy and CoreDNS (address already in use)\n", want: []string{"hub-down"},
		},
		{
			name: "conditions",
			conditions: "warning api-unreachable: the API server does not answer (no answer since 12:00: refused)\n" +
				"error loop-failing loop vxlan: a loop cannot\n",
			want: []string{"loop-failing", "api-unreachable"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := good()
			for name, text := range c.files {
				if files[name] = text; text == "" {
					delete(files, name)
				}
			}
			fs := fstest.MapFS{}
			for name, text := range files {
				fs[name] = &fstest.MapFile{Data: []byte(text)}
			}
			m := doctor.Machine{Name: "b-1", Files: fs, Answer: func(path string) (int, string, error) {
				switch {
				case c.silent:
					return 0, "", errors.New("connection refused")
				case path == "/readyz" && c.ready != "":
					return 503, c.ready, nil
				case path == "/conditions":
					return 200, c.conditions, nil
				}
				return 200, "ok\n", nil
			}, Hub: func(authority string) (int, error) {
				if authority != "PEM" || c.hub == 0 {
					return 0, errors.New("connection refused")
				}
				return c.hub, nil
			}}
			r := doctor.Examine(m, now, doctor.MachineChecks()...)
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Code)
				if !strings.HasPrefix(f.Subject, "node b-1") || f.Do == "" || f.Why == "" {
					t.Errorf("%+v", f)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
