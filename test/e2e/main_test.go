// SPDX-License-Identifier: Apache-2.0

// Package e2e_test tries the product as it is installed: Helm, the join script
// and kubectl, on the lab that a user starts with `make lab`.
//
// The lab is brought up if it is not, and then taken down again at the end.
// Tests put back what they break; they run one after the other.
package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(flowRole); role != "" {
		os.Exit(flow(role, os.Args[len(os.Args)-1])) //nolint:forbidigo // TestMain
	}
	os.Exit(withLab(m)) //nolint:forbidigo // TestMain
}

// repo is the repository's root; the tests' working folder is test/e2e.
func repo() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}

// labVerb is the command line of a verb of magpie-lab, for the lab named
// $MAGPIE_LAB or, without one, the one of `make lab`.
func labVerb(words ...string) []string {
	name := cmp.Or(os.Getenv("MAGPIE_LAB"), "default")
	return append([]string{bin("magpie-lab"), "--name", name}, words...)
}

func bin(name string) string { return filepath.Join(repo(), "bin", name) }

func withLab(m *testing.M) int {
	if _, err := os.Stat(bin("magpie-lab")); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: run `make build` first:", err)
		return 1
	}
	ctx := context.Background()
	status, err := try(ctx, labVerb("status")...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	ours := strings.Contains(status, "is down") // then it goes down again at the end
	up := command(ctx, labVerb("up")...)
	up.Stdout, up.Stderr = os.Stderr, os.Stderr
	if err := up.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: bring up the lab:", err)
		return 1
	}
	code := m.Run()
	if ours {
		if _, err := try(ctx, labVerb("down")...); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: take down the lab:", err)
			return 1
		}
	}
	return code
}

// try runs a command and returns its standard output.
func try(ctx context.Context, argv ...string) (string, error) {
	cmd := command(ctx, argv...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	// Not the test's context: clean-up runs after it has ended.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := try(ctx, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// lab runs a verb of magpie-lab.
func lab(t *testing.T, words ...string) string {
	t.Helper()
	return run(t, labVerb(words...)...)
}

// on runs a line of shell on a node.
func on(t *testing.T, node, line string) string {
	t.Helper()
	return lab(t, "shell", node, "/bin/sh", "-c", line)
}

// breaks does damage that lasts until the end of the test.
func breaks(t *testing.T, words ...string) {
	t.Helper()
	lab(t, append([]string{"break"}, words...)...)
	t.Cleanup(func() {
		if _, err := try(context.Background(), labVerb("heal")...); err != nil {
			t.Error(err)
		}
	})
}

// ctl runs magpiectl as the administrator.
func ctl(t *testing.T, words ...string) string {
	t.Helper()
	return run(t, ctlVerb(t, words...)...)
}

func ctlVerb(t *testing.T, words ...string) []string {
	t.Helper()
	config := strings.TrimSpace(lab(t, "kubeconfig"))
	return append([]string{bin("magpiectl"), "--kubeconfig", config}, words...)
}

// kubectl runs the lab's kubectl as the administrator.
func kubectl(t *testing.T, words ...string) string {
	t.Helper()
	out, err := tryKubectl(t, words...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryKubectl(t *testing.T, words ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return try(ctx, labVerb(append([]string{"kubectl"}, words...)...)...)
}

// within polls until f is nil.
func within(t *testing.T, patience time.Duration, f func() error) {
	t.Helper()
	start := time.Now()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Since(start) > patience {
			t.Fatalf("after %v: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pod is a network namespace that a node's CNI has connected, made the way a
// runtime makes one, so that it works without the API server, too.
type pod struct {
	node, ns, ip string
}

// newPod connects a namespace on the node and disconnects it after the test.
func newPod(t *testing.T, node string) pod {
	t.Helper()
	p := connect(t, node)
	t.Cleanup(func() {
		ctx := context.Background()
		_, err := try(ctx, labVerb("shell", node, "/bin/sh", "-c", p.call("DEL")+" && ip netns del "+p.ns)...)
		if err != nil {
			t.Error(err)
		}
	})
	return p
}

// connect connects a namespace on the node.
func connect(t *testing.T, node string) pod {
	t.Helper()
	p := pod{node: node, ns: fmt.Sprintf("e2e%d", time.Now().UnixNano())}
	on(t, node, "ip netns add "+p.ns)
	var result struct {
		IPs []struct{ Address string }
	}
	out := on(t, node, p.call("ADD"))
	if err := json.Unmarshal([]byte(out), &result); err != nil || len(result.IPs) == 0 {
		t.Fatalf("ADD on %s answered %q (%v)", node, out, err)
	}
	p.ip, _, _ = strings.Cut(result.IPs[0].Address, "/")
	return p
}

// call is the shell line by which a runtime would call the plugin.
func (p pod) call(verb string) string {
	return fmt.Sprintf(`echo '{"cniVersion":"1.0.0","name":"magpie","type":"magpie-cni"}' | `+
		`CNI_COMMAND=%s CNI_CONTAINERID=%s CNI_NETNS=/run/netns/%s CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin /opt/cni/bin/magpie-cni`,
		verb, p.ns, p.ns)
}

// command is a process that ends with ctx.
func command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}
