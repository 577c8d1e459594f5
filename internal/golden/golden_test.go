// SPDX-License-Identifier: Apache-2.0

package golden_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/internal/golden"
)

// caseEnv names the pattern that the inner test runs on; see TestInner.
const caseEnv = "MAGPIE_GOLDEN_CASE"

// TestInner upper-cases the file "in". The tests below run it in a process of
// its own, because a golden test that must fail cannot be a subtest.
func TestInner(t *testing.T) {
	pattern := os.Getenv(caseEnv)
	if pattern == "" {
		pattern = "testdata/*.txtar"
	}
	golden.Run(t, pattern, func(t *testing.T, c golden.Case) string {
		t.Helper()
		return strings.ToUpper(string(c.File(t, "in")))
	})
}

func inner(t *testing.T, pattern string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.run=^TestInner$"}, args...)...)
	cmd.Env = append(os.Environ(), caseEnv+"="+pattern)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "case.txtar")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFailuresAreSeen(t *testing.T) {
	tests := []struct{ name, text, says string }{
		{"other output", "Prose.\n-- in --\na\n-- want --\nb\n", "(-want +got)"},
		{"one line more", "Prose.\n-- in --\na\nb\n-- want --\nA\n", "(-want +got)"},
		{"no want", "Prose.\n-- in --\na\n", "run go test -update"},
		{"no prose", "-- in --\na\n-- want --\nA\n", "does not begin with a sentence"},
		{"no input", "Prose.\n-- want --\nA\n", `has no file "in"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, ok := inner(t, write(t, test.text))
			if ok || !strings.Contains(out, test.says) {
				t.Fatalf("passed=%v, output lacks %q:\n%s", ok, test.says, out)
			}
		})
	}
	if out, ok := inner(t, filepath.Join(t.TempDir(), "*.txtar")); ok {
		t.Fatalf("a pattern without files passed:\n%s", out)
	}
}

func TestUpdateWritesWantAndNothingElse(t *testing.T) {
	path := write(t, "Prose stays.\n-- in --\na\n-- want --\nold\n-- more --\nstays\n")
	if out, ok := inner(t, path, "-update"); !ok {
		t.Fatalf("update: %s", out)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if w := "Prose stays.\n-- in --\na\n-- want --\nA\n-- more --\nstays\n"; string(got) != w {
		t.Fatalf("wrote:\n%s", got)
	}
	if out, ok := inner(t, path); !ok {
		t.Fatalf("after update: %s", out)
	}
}
