// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/nodepool/join"
)

// TestScript compares the heads of the scripts: the rest is a copy of
// script/*.sh, and repeating it in a golden would only hide changes.
func TestScript(t *testing.T) {
	golden.Run(t, "testdata/script/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		text, err := rendered(t, c)
		if err != nil {
			return err.Error()
		}
		head, rest, ok := strings.Cut(text, "\n# Words that both scripts speak")
		if !ok || !strings.HasSuffix(rest, "\nmain \"$@\" </dev/null\n") {
			t.Fatal("the script lacks its library or its last line")
		}
		return head
	})
}

func rendered(t *testing.T, c golden.Case) (string, error) {
	t.Helper()
	if c.Has("leave.json") {
		var p join.LeaveParams
		decode(t, c.File(t, "leave.json"), &p)
		return join.LeaveScript(p)
	}
	var p join.Params
	decode(t, c.File(t, "in.json"), &p)
	return join.Script(p)
}

func decode(t *testing.T, b []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatal(err)
	}
}

// TestConstantsSurviveQuoting runs the head of a script and prints a constant.
func TestConstantsSurviveQuoting(t *testing.T) {
	p := goodParams("", "https://api:6443")
	p.Expires = "it's $(date) `date` \\ \"now\"\nand *"
	text, err := join.Script(p)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(text, "\n# Words that both scripts speak")
	out, err := exec.CommandContext(t.Context(), "bash", "-c", head+"\nprintf %s \"$TOKEN_EXPIRES\"").CombinedOutput()
	if err != nil || string(out) != p.Expires {
		t.Fatalf("got %q, %v; want %q", out, err, p.Expires)
	}
}

// TestCutShort: a script that arrives incomplete does nothing at all.
func TestCutShort(t *testing.T) {
	text, err := join.Script(goodParams("", "https://api:6443"))
	if err != nil {
		t.Fatal(err)
	}
	short := strings.TrimSuffix(text, "\nmain \"$@\" </dev/null\n")
	for _, s := range []string{short, text[:len(text)/2]} {
		cmd := exec.CommandContext(t.Context(), "bash", "-s")
		cmd.Stdin = strings.NewReader(s)
		out, _ := cmd.Output()
		if len(out) > 0 {
			t.Errorf("a script of %d of %d bytes printed %q", len(s), len(text), out)
		}
	}
}

func TestShellcheck(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		if os.Getenv("MAGPIE_TEST_STRICT") == "1" {
			t.Fatal("shellcheck is not installed: apt-get install shellcheck")
		}
		t.Skip("shellcheck is not installed: apt-get install shellcheck")
	}
	dir := t.TempDir()
	scripts := map[string]func() (string, error){
		"join.sh":  func() (string, error) { return join.Script(goodParams("", "https://api:6443")) },
		"leave.sh": func() (string, error) { return join.LeaveScript(join.LeaveParams{Node: "a-1", Cluster: "c"}) },
	}
	for name, script := range scripts {
		text, err := script()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// SC2034: a part of the library that only the other script needs.
		out, err := exec.CommandContext(t.Context(), shellcheck, "--shell=bash", "--exclude=SC2034", file).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
