// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/test/lab/fetch"
)

// TestVersions: what is called a version is what the module builds.
func TestVersions(t *testing.T) {
	for _, tool := range slices.Concat(fetch.Tools(), fetch.Extras(), fetch.Old(), fetch.Peers()) {
		b, err := os.ReadFile(filepath.Join("..", tool.Module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.Lines(string(b)) {
			w := strings.Fields(strings.TrimPrefix(line, "require "))
			found = found || len(w) > 1 && w[1] == tool.Version && strings.HasPrefix(tool.Package, w[0])
		}
		if !found {
			t.Errorf("%s: %s/go.mod does not require %s", tool.Name, tool.Module, tool.Version)
		}
	}
}
