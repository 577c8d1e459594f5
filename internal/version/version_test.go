// SPDX-License-Identifier: Apache-2.0

package version_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/internal/version"
)

func TestVersionIsNeverEmpty(t *testing.T) {
	if version.String() == "" {
		t.Fatal("no version")
	}
	if !strings.HasPrefix(version.Long(), version.String()+" go") {
		t.Fatalf("long form %q does not begin with the version and the toolchain", version.Long())
	}
}

// TestLinkerSetsTheVersion builds a program with the flag the Makefile uses: a
// renamed variable would otherwise turn every release into "devel" silently.
func TestLinkerSetsTheVersion(t *testing.T) {
	flags := "-X github.com/magpie-edge/magpie/internal/version.set=v9.8.7"
	out, err := exec.CommandContext(t.Context(), "go", "run", "-ldflags", flags, "./testdata/printer").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if string(out) != "v9.8.7" {
		t.Fatalf("built with %q, prints %q", flags, out)
	}
}
