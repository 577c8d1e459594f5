// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKubectl does on every node what a person does with kubectl. The API
// server has no other way to an edge node than the O&M tunnel.
func TestKubectl(t *testing.T) {
	// A reboot since they were made has taken the logs of first lives along.
	kubectl(t, "delete", "pods", "-l", "app=subject", "--now")
	prepareSubjects(t)
	for _, node := range workers() {
		t.Run(node, func(t *testing.T) {
			pod := subject(node)
			t.Run("logs", func(t *testing.T) { logs(t, pod) })
			t.Run("exec", func(t *testing.T) { execs(t, pod) })
			t.Run("attach", func(t *testing.T) {
				start(t, "attach", pod, "-c", "ticks").next(t, "tick ")
			})
			t.Run("port-forward", func(t *testing.T) { forwards(t, pod) })
			t.Run("proxy", func(t *testing.T) {
				if got := kubectl(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/healthz"); got != "ok" {
					t.Errorf("the kubelet's healthz: %q", got)
				}
				if got := kubectl(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/metrics"); !strings.Contains(got, "\nkubelet_running_pods") {
					t.Errorf("the kubelet's metrics: %.300s", got)
				}
				if got := kubectl(t, "get", "--raw", "/api/v1/namespaces/default/pods/"+pod+":8080/proxy/hostname"); got != pod {
					t.Errorf("the pod's page: %q", got)
				}
			})
		})
	}
}

func logs(t *testing.T, pod string) {
	t.Helper()
	if out := kubectl(t, "logs", pod, "-c", "again", "--previous"); strings.TrimSpace(out) != "first life" {
		t.Errorf("logs --previous: %q", out)
	}
	if out := kubectl(t, "logs", pod, "-c", "again"); strings.TrimSpace(out) != "second life" {
		t.Errorf("logs: %q", out)
	}
	p := start(t, "logs", "-f", "--tail=1", pod, "-c", "ticks")
	var a, b int
	for _, into := range []*int{&a, &b} {
		if _, err := fmt.Sscanf(p.next(t, "tick "), "tick %d", into); err != nil {
			t.Fatal(err)
		}
	}
	if b != a+1 {
		t.Errorf("logs -f: tick %d follows tick %d", b, a)
	}
}

func execs(t *testing.T, pod string) {
	t.Helper()
	for _, c := range []struct {
		name string
		env  []string
	}{
		{"websocket", []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true"}},
		{"SPDY", []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false"}},
	} {
		out, err := withInput(t, "magpies\n", c.env, "exec", "-i", pod, "-c", "web", "--", "sh", "-c", "tr a-z A-Z; echo to stderr >&2; exit 7")
		exit, _ := errors.AsType[*exec.ExitError](err)
		if exit == nil || exit.ExitCode() != 7 || !strings.Contains(out, "MAGPIES\n") || !strings.Contains(out, "to stderr\n") {
			t.Errorf("%s: %v: %q", c.name, err, out)
		}
	}
}

// forwards asks for pages over many connections at once.
func forwards(t *testing.T, pod string) {
	t.Helper()
	p := start(t, "port-forward", "pod/"+pod, ":8080")
	line := p.next(t, "Forwarding from 127.0.0.1:")
	var port int
	if _, err := fmt.Sscanf(line, "Forwarding from 127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/hostname", port)) //nolint:noctx // bounded
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != pod {
				t.Errorf("%v: %q", err, body)
			}
		})
	}
	all.Wait()
}

// TestKubectlForwardUDP: kubectl cannot, and must say so instead of hanging.
func TestKubectlForwardUDP(t *testing.T) {
	prepareSubjects(t)
	apply(t, `apiVersion: v1
kind: Service
metadata: {name: e2e-udp}
spec: {selector: {node: c-1}, ports: [{port: 8081, protocol: UDP}]}
`)
	t.Cleanup(func() { kubectl(t, "delete", "service", "e2e-udp") })
	if out, err := withInput(t, "", nil, "port-forward", "service/e2e-udp", ":8081"); err == nil || !strings.Contains(out, "UDP") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestKubectlCopy sends a file there and back.
func TestKubectlCopy(t *testing.T) {
	prepareSubjects(t)
	const size = 20 << 20
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	there, back := filepath.Join(dir, "there"), filepath.Join(dir, "back")
	if err := os.WriteFile(there, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"a-1", "b-1", "c-1"} {
		pod := subject(node)
		begin := time.Now()
		kubectl(t, "cp", there, pod+":/tmp/copy", "-c", "web")
		kubectl(t, "cp", pod+":/tmp/copy", back, "-c", "web")
		t.Logf("%s: %d MB there and back in %.1f s", node, size>>20, time.Since(begin).Seconds())
		got, err := os.ReadFile(back)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(data) {
			t.Errorf("%s: the copy differs: %d bytes of %d", node, len(got), size)
		}
		kubectl(t, "exec", pod, "-c", "web", "--", "rm", "/tmp/copy")
	}
}

// TestKubectlDebug gives a pod another container and reads what it said.
func TestKubectlDebug(t *testing.T) {
	prepareSubjects(t)
	pod := subject("a-2")
	name := fmt.Sprintf("dbg%d", time.Now().Unix())
	kubectl(t, "debug", pod, "--image="+image(t), "--image-pull-policy=Never", "-c", name, "--", "sh", "-c", "echo debugged by $(hostname)")
	within(t, 30*time.Second, func() error {
		out, err := tryKubectl(t, "logs", pod, "-c", name)
		if err == nil && strings.TrimSpace(out) != "debugged by "+pod {
			err = fmt.Errorf("it said %q", out)
		}
		return err
	})
}

// TestKubectlTop asks the real metrics-server, which reads from edge kubelets
// through the gateway's entry for such programs.
func TestKubectlTop(t *testing.T) {
	prepareSubjects(t)
	lab(t, "install", "metrics-server")
	within(t, 90*time.Second, func() error {
		nodes, err := tryKubectl(t, "top", "nodes", "--no-headers")
		if err != nil {
			return err
		}
		pods, err := tryKubectl(t, "top", "pods", "--no-headers")
		if err != nil {
			return err
		}
		for _, n := range workers() {
			if !strings.Contains(nodes, n+" ") || strings.Contains(nodes, "unknown") || !strings.Contains(pods, subject(n)+" ") {
				return fmt.Errorf("of %s nothing is known:\n%s%s", n, nodes, pods)
			}
		}
		return nil
	})
}
