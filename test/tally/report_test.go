// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tally runs the program in dir and returns what it printed and whether it
// ended well.
func tally(t *testing.T, bin, dir string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func TestTallyOnARealModule(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "tally")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":         "module m\ngo 1.26\n",
		"good/a_test.go": "package good\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Run(\"sub\", func(t *testing.T) {}) }\nfunc TestS(t *testing.T) { t.Skip(\"why not\") }\n",
		"bad/b_test.go":  "package bad\nimport \"testing\"\nfunc TestB(t *testing.T) { t.Error(\"boom\") }\nfunc TestOK(t *testing.T) { t.Log(\"quiet\") }\n",
		"broken/c.go":    "package broken\nvar x int = \"no\"\n",
		"broken/c_test.go": "package broken\n" +
			"import \"testing\"\nfunc TestC(t *testing.T) {}\n",
		"none/d.go": "package none\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(ok bool, args []string, says ...string) {
		t.Helper()
		out, good := tally(t, bin, dir, args...)
		for _, s := range says {
			if good != ok || !strings.Contains(out, s) {
				t.Errorf("tally %v: ended well: %v, want %v and %q in:\n%s", args, good, ok, s, out)
			}
		}
		if strings.Contains(out, "quiet") {
			t.Errorf("tally %v prints the output of a test that passed:\n%s", args, out)
		}
	}
	check(true, []string{"-begin"}, "")
	check(true, []string{"one", "./good"}, "2 passed, 0 failed, 1 skipped", "why not")
	check(false, []string{"two", "./bad"}, "boom", "1 passed, 1 failed, 0 skipped")
	check(false, []string{"three", "./broken"}, "cannot use", "FAIL  m/broken")
	check(false, []string{"four", "./none"}, "no test ran")
	check(false, []string{"five"}, "no packages")
	check(false, []string{"-end"}, "3 passed, 1 failed, 1 skipped\ntally:")
	check(true, []string{"-begin"}, "")
	check(true, []string{"one", "./good"}, "")
	check(true, []string{"-end"}, "\n2 passed, 0 failed, 1 skipped\n")
}
