// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Chart renders templates of our chart, named from its templates folder, as
// Helm would install them into the namespace.
func Chart(tb testing.TB, namespace string, templates ...string) string {
	tb.Helper()
	return ChartWith(tb, namespace, nil, templates...)
}

// ChartWith is Chart with values of its own, each "name=value".
func ChartWith(tb testing.TB, namespace string, values []string, templates ...string) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "magpie", "bin", "helm-*"))
	if err != nil || len(found) == 0 {
		if os.Getenv("MAGPIE_TEST_STRICT") == "1" {
			tb.Fatal("helm is not built: run make deps")
		}
		tb.Skip("helm is not built: run make deps")
	}
	slices.Sort(found)
	args := []string{
		"template", "magpie", filepath.Join(root(tb), "charts", "magpie"),
		"--namespace", namespace, "--set", "network.clusterCIDRs={10.42.0.0/16}",
	}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	for _, t := range templates {
		args = append(args, "--show-only", "templates/"+t)
	}
	out, err := exec.CommandContext(tb.Context(), found[len(found)-1], args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("helm template: %v\n%s", err, out)
	}
	return string(out)
}

// root is the folder of go.mod.
func root(tb testing.TB) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		tb.Fatalf("go env: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
