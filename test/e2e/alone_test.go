// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// aloneFor is how long the plant is cut off: twice as long as Kubernetes leaves
// pods on a node that it does not hear of. -short is for trying this test.
func aloneFor() time.Duration {
	if testing.Short() {
		return 90 * time.Second
	}
	return 10 * time.Minute
}

// plant is node c-1 while it is cut off from the cloud.
type plant struct {
	node   string
	client pod
	beats  *beats
	cut    time.Time
	// free are times in which it is no wonder that something does not answer,
	// by what was asked: it was being started again.
	free map[string][]gap
	// later is a Service that changes meanwhile, by its ClusterIP.
	later string
}

// What the plant's client asks for all the time: a Service of its own pool, and
// that Service's name.
const (
	aloneService = "e2e-alone"
	aloneName    = "name/" + aloneService + ".default.svc.cluster.local"
)

// leave cuts the plant off until back, while a client there asks.
func leave(t *testing.T, client pod) *plant {
	t.Helper()
	p := &plant{node: client.node, client: client, free: map[string][]gap{}}
	t.Cleanup(func() { on(t, p.node, "rm -rf "+staticPod+" /run/e2e-static") })
	ip := newService(t, aloneService, "selector: {app: home}", topologyKeys(byPool))
	p.later = newService(t, "e2e-later", "selector: {app: home}", topologyKeys(byPool))
	tcp, udp := "tcp/"+ip+":80", "udp/"+ip+":81"
	for _, what := range []string{tcp, udp, "tcp/" + p.later + ":80"} {
		client.want(t, 30*time.Second, what, home(p.node))
	}
	client.want(t, forgotten, aloneName, ip)
	p.beats = client.beats(t, tcp, udp, aloneName)
	breaks(t, "cut", "plant")
	p.cut = time.Now()
	return p
}

// restart kills a program on the node and waits until another one says that it
// is ready. Meanwhile whatever begins with one of the kinds may stand still.
func (p *plant) restart(t *testing.T, program, ready string, kinds ...string) {
	t.Helper()
	pid := func() string { return strings.TrimSpace(on(t, p.node, "pgrep -x "+program+" || true")) }
	old := pid()
	begin := time.Now()
	on(t, p.node, "kill -9 "+old)
	within(t, 2*time.Minute, func() error {
		if now := pid(); now == "" || now == old {
			return fmt.Errorf("the kubelet has not started another %s", program)
		}
		if out := on(t, p.node, "("+ready+") >/dev/null 2>&1 && echo ready || true"); strings.TrimSpace(out) != "ready" {
			return fmt.Errorf("%s is not ready", program)
		}
		return nil
	})
	t.Logf("%s is back after %.1f s", program, time.Since(begin).Seconds())
	for _, k := range kinds {
		p.free[k] = append(p.free[k], gap{begin, time.Now().Add(time.Second)})
	}
}

// How to see, on the node, that a program works.
const (
	// Rules are written after the first list of Services and endpoints.
	proxyReady = `busybox wget -qO- http://127.0.0.1:10249/metrics | grep -E '^kubeproxy_sync_proxy_rules_last_timestamp_seconds[^ ]* [1-9]'`
	agentReady = "busybox wget -qO- " + agentHealth + "/readyz"
)

// dnsReady asks the node's own CoreDNS, at its pod's address.
func (p *plant) dnsReady() string {
	return `for i in $(ip route show proto 202 | cut -d' ' -f1); do timeout 1 busybox wget -qO- http://$i:8181/ready && exit 0; done; false`
}

// alone: everything that serves Services is started again while the cloud is
// away, and kube-proxy's rules are lost with it.
func (p *plant) alone(t *testing.T) {
	within(t, 2*time.Minute, func() error {
		out := kubectl(t, "get", "node", p.node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if out == "True" {
			return errors.New("the cloud has not noticed")
		}
		return nil
	})
	t.Logf("the cloud misses the node after %.0f s", time.Since(p.cut).Seconds())
	p.restart(t, "magpie-agent", agentReady)
	on(t, p.node, "nft delete table ip kube-proxy; nft delete table ip6 kube-proxy")
	p.restart(t, "kube-proxy", proxyReady, "tcp", "udp", "name")
	p.restart(t, "coredns", p.dnsReady(), "name")
	fresh := newPod(t, p.node)
	fresh.want(t, atOnce, "tcp/"+aloneService+".default.svc.cluster.local:80", home(p.node))
	fresh.want(t, atOnce, "udp/"+aloneService+".default.svc.cluster.local:81", home(p.node))
}

// stillAlone: when the ten minutes are almost over all is started once more,
// the agent last, and the kubelet starts a pod. The cloud has gone on.
func (p *plant) stillAlone(t *testing.T) {
	annotate(t, "e2e-later", "openyurt.io/topologyKeys-")
	apply(t, serverPod(t, "e2e-late", "cloud-1", "app: home")) // it goes with the others of that label
	kubectl(t, "wait", "pod", "e2e-late", "--for=condition=Ready", "--timeout=60s")
	time.Sleep(time.Until(p.cut.Add(aloneFor() - 2*time.Minute)))
	p.restart(t, "coredns", p.dnsReady(), "name")
	p.restart(t, "kube-proxy", proxyReady)
	p.restart(t, "magpie-agent", agentReady)
	p.startPod(t)
	p.client.want(t, atOnce, "tcp/"+p.later+":80", home(p.node)) // of what changed it knows nothing
	time.Sleep(time.Until(p.cut.Add(aloneFor())))
}

// staticPod is where the kubelet finds a pod that no API server knows.
const staticPod = "/etc/kubernetes/manifests/e2e-static.yaml"

// startPod lets the kubelet start a pod, which then calls the Service by its
// name, as the pod's own settings say.
func (p *plant) startPod(t *testing.T) {
	t.Helper()
	text := strings.NewReplacer("IMAGE", image(t), "SERVICE", aloneService).Replace(`apiVersion: v1
kind: Pod
metadata: {name: e2e-static, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: ask
    image: IMAGE
    imagePullPolicy: Never
    command: [sh, -c, "until timeout 2 wget -qO /out/answer http://SERVICE/hostname; do sleep 0.2; done; sleep 1000"]
    volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: /run/e2e-static, type: DirectoryOrCreate}}]
`)
	on(t, p.node, "cat > "+staticPod+" <<'END'\n"+text+"END")
	begin := time.Now()
	within(t, time.Minute, func() error {
		if got := on(t, p.node, "cat /run/e2e-static/answer || true"); got != home(p.node) {
			return fmt.Errorf("a pod that was started alone was answered by %q", got)
		}
		return nil
	})
	t.Logf("a pod was started, found the Service by name and was answered after %.1f s", time.Since(begin).Seconds())
}

// back: what has changed is seen, by the programs that run, and nobody who asked
// all the time was let down.
func (p *plant) back(t *testing.T) {
	before := p.programs(t)
	lab(t, "heal", "cut")
	healed := time.Now()
	p.client.want(t, 2*time.Minute, "tcp/"+p.later+":80", append(homes(workers()...), "e2e-late")...)
	t.Logf("what changed meanwhile is seen %.1f s after the line is back, cut off for %v", time.Since(healed).Seconds(),
		healed.Sub(p.cut).Round(time.Second))
	settle(t)
	if after := p.programs(t); after != before {
		t.Errorf("something was started again: before %s, after %s", before, after)
	}
	for _, r := range p.beats.end(t) {
		t.Logf("%s: asked %d times, %d times in vain, by %v; gaps: %v; %s", r.What, r.Asked, r.Failed, r.Answers, r.Gaps, r.Err)
		if len(r.Answers) != 1 {
			t.Errorf("%s is answered by %v", r.What, r.Answers)
		}
		kind, _, _ := strings.Cut(r.What, "/")
		for _, g := range r.Gaps {
			if !slices.ContainsFunc(p.free[kind], func(f gap) bool { return g.From.Before(f.To) && f.From.Before(g.To) }) {
				t.Errorf("%s: nobody answered for %v", r.What, g)
			}
		}
	}
}

// programs are the processes that must not have to be started again.
func (p *plant) programs(t *testing.T) string {
	t.Helper()
	return on(t, p.node, "for p in magpie-agent kube-proxy coredns kubelet; do echo $p $(pgrep -x $p); done")
}
