// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/lab/machine"
)

// needRoot: machines have real mounts and cgroups. In CI, which is root, a skip
// would hide that nothing was tested.
func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("MAGPIE_TEST_STRICT") != "":
		t.Fatal("needs root")
	default:
		t.Skip("needs root")
	}
}

func sh(t *testing.T, lab, script string) string {
	t.Helper()
	cmd, err := machine.Command(t.Context(), lab, "node", "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func hostMounts(t *testing.T) string {
	t.Helper()
	return readFile(t, "/proc/self/mounts")
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func copyExe(t *testing.T, src, dst string) {
	t.Helper()
	b, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dst, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}
