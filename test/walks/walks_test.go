// SPDX-License-Identifier: Apache-2.0

// Package walks_test performs the walks of docs/walks in network namespaces,
// with the product's own planners and doors: what a page tells, a script of the
// same name does.
//
// A script is a txtar archive of testscript, with these verbs beside
// testscript's own:
//
//	link DOMAIN LAN [public]  a site with that LAN and a line to the internet, behind
//	                          NAT; or public, where each node has an address outside
//	node NAME POOL            a machine in the site of that name, joined to the pool; a
//	                          node that is there already is carried over
//	apply                     rounds of manager and agents until nothing changes
//	pod add NAME NODE         a sandbox, and CNI ADD through shim and socket
//	pod del NAME              CNI DEL, and the sandbox goes
//	[!] send FROM TO          TCP and UDP from pod to pod; prints the address that TO sees
//	[!] expect NODE TEXT      does the node's kernel have a line with TEXT that is ours?
package walks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestMain is the tests or, in a namespace of its own, one node's agent.
func TestMain(m *testing.M) {
	if dir := os.Getenv(agentDir); dir != "" {
		if err := serveAgent(dir); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1) //nolint:forbidigo // how a TestMain ends
		}
		return
	}
	os.Exit(sandbox.Main(m)) //nolint:forbidigo // how a TestMain ends
}

// TestWalks performs each script, one after another: the names of nodes are
// names of namespaces.
func TestWalks(t *testing.T) {
	kernel.Need(t, kernel.FeatureVXLAN)
	kernel.Need(t, kernel.FeatureTUN) // for WireGuard, where the kernel has none
	scripts, err := filepath.Glob("*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts: %v, %v", scripts, err)
	}
	for _, script := range scripts {
		t.Run("", func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Files: []string{script}, RequireUniqueNames: true,
				Setup: func(env *testscript.Env) error {
					w := newWorld(env.WorkDir)
					env.Values["world"] = w
					env.Defer(w.close)
					return w.open()
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"link": verb(1, (*world).link), "node": verb(2, (*world).node), "apply": verb(0, (*world).apply),
					"pod": verb(2, (*world).pod), "send": verb(2, (*world).send), "expect": verb(2, (*world).expect),
				},
			})
		})
	}
}

// TestEveryWalkIsTold: a script has a page of the same name, which says so.
func TestEveryWalkIsTold(t *testing.T) {
	scripts, err := filepath.Glob("*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		page := filepath.Join("../../docs/walks", strings.TrimSuffix(script, ".txtar")+".md")
		text, err := os.ReadFile(page)
		if err != nil || !strings.Contains(string(text), "test/walks/"+script) {
			t.Errorf("%s does not point to test/walks/%s: %v", page, script, err)
		}
	}
}

// verb makes a command of testscript out of one that prints what it returns.
func verb(least int, do func(*world, []string) (string, error)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) < least || slices.Contains(args, "") {
			ts.Fatalf("too few arguments")
		}
		out, err := do(ts.Value("world").(*world), args)
		fmt.Fprint(ts.Stdout(), out)
		switch {
		case neg && err == nil:
			ts.Fatalf("unexpected success")
		case neg:
			ts.Logf("as expected: %.80s", err)
		default:
			ts.Check(err)
		}
	}
}
