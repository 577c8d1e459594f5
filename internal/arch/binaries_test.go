// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"os/exec"
	"strings"
	"testing"
)

// forbidden says, for each command, what must not be linked into it.
var forbidden = map[string][]string{
	// Exec'd for every pod: 6.5 MB and 2 ms instead of 31.5 MB and 14 ms.
	"magpie-cni": {"k8s.io/", "sigs.k8s.io/", module + "kernel", module + "cluster", "github.com/prometheus/"},
	// The one process the internet reaches: no privilege, no netlink code.
	"magpie-gateway": {module + "kernel", "github.com/vishvananda/", "github.com/cilium/ebpf", "golang.zx2c4.com/wireguard/wgctrl"},
	// Runs in the cloud with write access to the API; touches no host.
	"magpie-manager": {module + "kernel", "github.com/vishvananda/", "github.com/cilium/ebpf"},
	"magpie-agent":   {"sigs.k8s.io/controller-runtime", module + "test/"},
	"magpiectl":      {module + "test/"},
	// The lab links what it likes: it is a developer's tool.
	"magpie-lab": {},
}

// TestBinaries asks the toolchain what each command links.
func TestBinaries(t *testing.T) {
	commands := map[string]bool{}
	for _, s := range sources(t) {
		if name, ok := strings.CutPrefix(s.dir, "cmd/"); ok && !strings.Contains(name, "/") {
			commands[name] = commands[name] || s.ast.Name.Name == "main" && !s.test()
		}
	}
	if !commands["magpie-cni"] || !commands["magpie-agent"] {
		t.Fatalf("commands found: %v", commands)
	}
	for name, main := range commands {
		if !main {
			continue
		}
		t.Run(name, func(t *testing.T) {
			bans, ok := forbidden[name]
			if !ok {
				t.Fatalf("cmd/%s: say in this test what it must not link", name)
			}
			cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/"+name)
			cmd.Dir = root
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("go list -deps ./cmd/%s: %v", name, err)
			}
			for pkg := range strings.FieldsSeq(string(out)) {
				for _, ban := range bans {
					if strings.HasPrefix(pkg, ban) {
						t.Errorf("links %s, must not link %s…", pkg, ban)
					}
				}
			}
		})
	}
}
