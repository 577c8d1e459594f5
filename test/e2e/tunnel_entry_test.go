// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// second is kubectl with the second API server, on its machine.
const second = "kubectl --kubeconfig=/etc/kubernetes/entry/admin.conf "

// TestEntries goes to edge nodes by the two other ways into the tunnel, each
// with an API server that has no other: a unix socket, and names that lead to
// the gateway.
func TestEntries(t *testing.T) {
	prepareSubjects(t)
	lab(t, "install", "metrics-server")
	t.Cleanup(func() {
		lab(t, "entry", "off")
		gatewaysReady(t)
	})
	for way, caller := range map[string]string{"unix": "connect unix", "sni": "sni 10[.0-9]+"} {
		t.Run(way, func(t *testing.T) {
			lab(t, "entry", way)
			gatewaysReady(t)
			for _, node := range []string{"a-1", "b-1", "c-1"} {
				t.Run(node, func(t *testing.T) { throughSecond(t, node) })
			}
			within(t, 60*time.Second, func() error {
				out, err := tryOn("cloud-1", second+"top node --no-headers")
				if err == nil && (!strings.Contains(out, "b-1 ") || strings.Contains(out, "unknown")) {
					err = fmt.Errorf("top: %s", out)
				}
				return err
			})
			seen := kubectl(t, "-n", "kube-system", "logs", "-l", "app.kubernetes.io/component=gateway", "--tail=-1")
			for _, node := range []string{"a-1", "b-1", "c-1"} {
				line := fmt.Sprintf(`msg="stream ended" caller="%s" node=%s target=%[2]s:10250`, caller, node)
				if !regexp.MustCompile(line).MatchString(seen) {
					t.Errorf("the gateways do not say that %s was reached by %s", node, way)
				}
			}
			if way == "sni" {
				t.Run("metrics-server", metricsByName)
				t.Run("without tunnel", whatKubernetesDoes)
			}
		})
	}
}

// throughSecond does on a node what people do.
func throughSecond(t *testing.T, node string) {
	t.Helper()
	pod := subject(node)
	if out := on(t, "cloud-1", second+"logs "+pod+" -c again"); strings.TrimSpace(out) != "second life" {
		t.Errorf("logs: %q", out)
	}
	for _, websocket := range []string{"true", "false"} {
		out := on(t, "cloud-1", "echo magpies | KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+websocket+" "+second+
			"exec -i "+pod+" -c web -- sh -c 'tr a-z A-Z; exit 7'; echo exit $?")
		if out != "MAGPIES\nexit 7\n" {
			t.Errorf("exec, websocket %s: %q", websocket, out)
		}
	}
	out := on(t, "cloud-1", second+"port-forward pod/"+pod+` :8080 >/tmp/forward 2>&1 & p=$!
		for i in $(seq 100); do grep -q Forwarding /tmp/forward && break; sleep 0.1; done
		port=$(sed -n 's/.*from 127.0.0.1:\([0-9]*\) .*/\1/p' /tmp/forward)
		for i in $(seq 10); do curl -sS --max-time 10 http://127.0.0.1:$port/hostname && echo; done
		kill $p`)
	if out != strings.Repeat(pod+"\n", 10) {
		t.Errorf("port-forward: %q", out)
	}
	if out := on(t, "cloud-1", second+"get --raw /api/v1/nodes/"+node+"/proxy/healthz"); out != "ok" {
		t.Errorf("the kubelet's healthz: %q", out)
	}
}

// metricsByName lets metrics-server, too, find nodes by names that lead to the
// SNI entry.
func metricsByName(t *testing.T) {
	ip := kubectl(t, "-n", "kube-system", "get", "service", "magpie-gateway-nodes", "-o", "jsonpath={.spec.clusterIP}")
	kubectl(t, "-n", "kube-system", "patch", "deployment", "metrics-server", "--type=json", "-p",
		fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/hostAliases/2/ip","value":%q}]`, ip))
	t.Cleanup(func() { lab(t, "install", "metrics-server") })
	kubectl(t, "-n", "kube-system", "rollout", "status", "deployment/metrics-server", "--timeout=90s")
	within(t, 90*time.Second, func() error {
		out, err := tryKubectl(t, "top", "nodes", "--no-headers")
		for _, n := range workers() {
			if err == nil && (!strings.Contains(out, n+" ") || strings.Contains(out, "unknown")) {
				err = fmt.Errorf("of %s nothing is known:\n%s", n, out)
			}
		}
		return err
	})
}

// whatKubernetesDoes holds what docs/reference/entries.md says of a stream that
// breaks: between an API server and a kubelet without any tunnel, `kubectl logs
// -f` ends as if the log did when the kubelet is killed; exec says that it broke, and
// so does the same log through the node's proxy. Should that change, kubectl logs
// through a gateway that is killed may say so, too.
func whatKubernetesDoes(t *testing.T) {
	const node = "cloud-2"
	ends := make(chan string, 1)
	go func() {
		out, err := tryOn("cloud-1", second+"logs -f --tail=1 "+subject(node)+" -c ticks >/tmp/log 2>&1 & log=$!\n"+
			second+"exec "+subject(node)+" -c web -- sleep 100 >/tmp/exec 2>&1 & exec=$!\n"+
			second+"get --raw '"+rawLog(node)+"' >/tmp/raw 2>&1 & raw=$!\n"+
			"wait $log; echo logs $?; wait $exec; echo exec $?; wait $raw; echo raw $?; tail -qn 1 /tmp/exec /tmp/raw")
		ends <- fmt.Sprint(out, err)
	}()
	within(t, 20*time.Second, func() error {
		_, err := tryOn("cloud-1", "[ $(wc -l </tmp/log) -gt 5 ]")
		return err
	})
	time.Sleep(time.Second)
	on(t, node, "kill -9 $(pgrep -x kubelet)")
	t.Cleanup(func() { within(t, time.Minute, func() error { return healthy(t) }) })
	select {
	case got := <-ends:
		t.Logf("killed: %s", got)
		if !strings.HasPrefix(got, "logs 0\nexec 1\nraw 1\n") {
			t.Errorf("the kubelet was killed without a tunnel between: %s", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("the streams of a kubelet that was killed go on")
	}
}

// rawLog is the log of ticks on a node, from its kubelet.
func rawLog(node string) string {
	return "/api/v1/nodes/" + node + "/proxy/containerLogs/default/" + subject(node) + "/ticks?follow=true&tailLines=1"
}

// TestPrivatePool: the gateway dials nodes of a pool on a private line itself.
// Their internet line is cut, so that there is no other way to them.
func TestPrivatePool(t *testing.T) {
	const node, mode = "c-1", "alibabacloud.com/interconnection-mode"
	prepareSubjects(t)
	gatewaysReady(t)
	t.Cleanup(func() {
		within(t, 2*time.Minute, func() error { return healthy(t) })
		gatewaysReady(t)
	})
	breaks(t, "private-line", "up")
	kubectl(t, "annotate", "nodepool", "plant", mode+"=private")
	t.Cleanup(func() { kubectl(t, "annotate", "nodepool", "plant", mode+"-") })
	lab(t, "break", "cut", "plant")
	cut := time.Now()
	within(t, 90*time.Second, func() error {
		out, err := tryKubectl(t, "exec", subject(node), "-c", "web", "--request-timeout=5s", "--", "hostname")
		if err == nil && strings.TrimSpace(out) != subject(node) {
			err = fmt.Errorf("exec says %q", out)
		}
		return err
	})
	t.Logf("exec works over the private line after %.1f s", time.Since(cut).Seconds())
	p := start(t, "logs", "-f", "--tail=1", subject(node), "-c", "ticks")
	p.next(t, "tick ")
	time.Sleep(45 * time.Second) // until every session over the internet line is dead
	if out := tunnelText(t); !strings.Contains(out, node+" gw-plant 0 of 2") {
		t.Errorf("the node has sessions without internet: %s", out)
	}
	if !p.alive(t) {
		t.Errorf("logs over the private line: %s", p.errs)
	}
}

// tryOn runs a line of shell on a node.
func tryOn(node, line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return try(ctx, labVerb("shell", node, "/bin/sh", "-c", line)...)
}
