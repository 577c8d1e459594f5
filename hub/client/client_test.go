// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/internal/golden"
)

// TestPlan prints the plan and the files for a View that has only settings.
func TestPlan(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		v := fleet.View{Settings: fleet.Settings{Hub: strings.TrimSpace(string(c.File(t, "hub"))) == "on"}}
		p, err := client.Plan(v)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		b.WriteString(p.Text())
		if v.Settings.Hub {
			for _, f := range client.Files("(authority)\n") {
				fmt.Fprintf(&b, "--- %s\n%s", f.Name, f.Text)
			}
		}
		return b.String()
	})
}

// TestKubeconfigs: client-go, which all callers use, reads them wherever they
// are mounted, and finds the authority beside them.
func TestKubeconfigs(t *testing.T) {
	dir := t.TempDir()
	for _, f := range client.Files("(authority)\n") {
		if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(f.Text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, host := range map[string]string{client.FileHost: api.HubLoopback, client.FilePod: api.HubAddress} {
		rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: filepath.Join(dir, name)}
		c, err := rules.Load()
		if err != nil {
			t.Fatal(err)
		}
		cluster := c.Clusters[c.Contexts[c.CurrentContext].Cluster]
		if cluster == nil || cluster.CertificateAuthority != filepath.Join(dir, client.FileCA) || cluster.Server != client.URL(host) {
			t.Errorf("%s: %+v", name, cluster)
		}
	}
}
