// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
)

// call runs one command line as main does, with no kubeconfig to be found.
func call(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	var out, err bytes.Buffer
	e := &env{in: strings.NewReader(""), out: &out, err: &err, now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	status = run(t.Context(), e, false, args)
	return out.String(), err.String(), status
}

// TestCommands shows what command lines print: file "args" in, everything that
// comes out.
func TestCommands(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		args := strings.Fields(string(c.File(t, "args")))
		stdout, stderr, status := call(t, args...)
		wide := strings.Contains(c.Name, "plan") || strings.Contains(c.Name, "json")
		for line := range strings.Lines(stdout) {
			if !wide && len([]rune(strings.TrimRight(line, "\n"))) > page.Width {
				t.Errorf("wider than %d columns: %q", page.Width, line)
			}
		}
		if strings.Contains(stdout+stderr, "\x1b") {
			t.Error("colour without a terminal")
		}
		return fmt.Sprintf("%s%sexit %d", stdout, stderr, status)
	})
}

// TestHelp: every command that people use has a short help and examples.
func TestHelp(t *testing.T) {
	for _, c := range newRootCommand(&env{}, false).Commands() {
		if c.Hidden || c.Name() == "completion" || c.Name() == "help" {
			continue
		}
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no help or no example", c.Name())
		}
		if _, _, status := call(t, c.Name(), "--help"); status != 0 {
			t.Errorf("%s --help ends with %d", c.Name(), status)
		}
	}
}

// TestPlugin: under kubectl the help names what people type.
func TestPlugin(t *testing.T) {
	var out bytes.Buffer
	if status := run(t.Context(), &env{in: strings.NewReader(""), out: &out, err: &out}, true, []string{"status", "--help"}); status != 0 {
		t.Fatal(status)
	}
	if !strings.Contains(out.String(), "kubectl magpie status") {
		t.Errorf("help does not name kubectl magpie:\n%s", out.String())
	}
}

// TestAPIErrors: what an API server may answer, and what the person is told.
func TestAPIErrors(t *testing.T) {
	answer := func(code int, reason, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message)
		}
	}
	empty := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "net.magpie.dev") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}`)
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"forbidden", answer(403, "Forbidden", "nodes is forbidden"), "ClusterRole magpie-view"},
		{"unauthorized", answer(401, "Unauthorized", "Unauthorized"), "renew the kubeconfig"},
		{"not installed", empty, "install the chart"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.handler)
			defer s.Close()
			_, stderr, status := call(t, "status", "--kubeconfig", kubeconfig(t, s.URL))
			if status != exitNoAnswer || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, %q; want %d and %q", status, stderr, exitNoAnswer, tt.want)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		_, stderr, status := call(t, "status", "--kubeconfig", kubeconfig(t, "http://"+addr))
		if status != exitNoAnswer || !strings.Contains(stderr, "is it running?") {
			t.Errorf("exit %d, %q", status, stderr)
		}
	})
}

func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"x",
		"clusters":[{"name":"x","cluster":{"server":%q}}],"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],
		"users":[{"name":"x","user":{}}]}`, server)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSnapshot: what is written is what plan and trace read, and each file is
// its own node's.
func TestSnapshot(t *testing.T) {
	v, err := readView("testdata/fleet.json")
	if err != nil {
		t.Fatal(err)
	}
	e := &env{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	all, err := e.views(t.Context(), "testdata/fleet.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := snapshot(e, all, dir, nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range v.Domains {
		for _, node := range d.Nodes {
			n++
			path := filepath.Join(dir, node.Name+".json")
			got, err := readView(path)
			if err != nil {
				t.Fatal(err)
			}
			if got.Self.Node != node.Name || got.Self.Domain != d.Name || len(got.Links) == 0 {
				t.Errorf("%s is of node %q in %q with %d links", path, got.Self.Node, got.Self.Domain, len(got.Links))
			}
			if out, _, status := call(t, "plan", "--from", path); status != 0 || !strings.Contains(out, "# vxlan on "+node.Name) {
				t.Errorf("plan --from %s: exit %d\n%s", path, status, out)
			}
		}
	}
	if n != len(all) {
		t.Errorf("%d views of %d nodes", len(all), n)
	}
	many := make([]fleet.View, snapshotNodes+1)
	if err := snapshot(e, many, dir, nil); err == nil || !strings.Contains(err.Error(), "--node") {
		t.Errorf("too many nodes: %v", err)
	}
}

// TestOneJSONDocument: -o json prints one document and nothing else.
func TestOneJSONDocument(t *testing.T) {
	for _, args := range []string{
		"version", "plan --from testdata/fleet.json", "trace --from testdata/fleet.json 10.42.4.5 10.42.5.6",
	} {
		stdout, _, status := call(t, append(strings.Fields(args), "-o", "json")...)
		dec := json.NewDecoder(strings.NewReader(stdout))
		var doc map[string]any
		if err := dec.Decode(&doc); err != nil || dec.More() || status != 0 {
			t.Errorf("%s: exit %d, %v:\n%s", args, status, err, stdout)
		}
	}
}
