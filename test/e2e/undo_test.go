// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The tests of this file, the last by name, take nodes and the whole product
// away and bring them back.

// apiServer is how nodes of the lab reach the API server.
const apiServer = "https://203.0.113.100:6443"

// joinNode runs the script of a pool on a machine, as an administrator does,
// and returns what it printed.
func joinNode(t *testing.T, node, pool string) string {
	t.Helper()
	return pipe(t, node, ctl(t, "join", "--pool", pool, "--api-server", apiServer))
}

// pipe runs a script on a machine.
func pipe(t *testing.T, node, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := command(ctx, labVerb("shell", node, "/bin/bash", "-s")...)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("script on %s: %v\n%s", node, err, out)
	}
	return string(out)
}

// installed lists what join may write on a machine, with times and sizes, the
// settings it may change, and which kubelet runs. What the hub knows changes
// with the cluster.
const installed = `find /etc /opt /root /srv /usr/local /var/lib/magpie -xdev -path /var/lib/magpie/hub-state -prune -o -type f -printf '%p %T@ %s %m\n' | grep -v ' /etc/mtab' | sort
sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.bridge 2>/dev/null
ip -o link show | cut -d: -f2; ip rule; systemctl is-active kubelet; pgrep -x kubelet`

// TestJoinTwice runs the script on a machine that is a node already.
func TestJoinTwice(t *testing.T) {
	const node = "a-2"
	before := on(t, node, installed)
	out := joinNode(t, node, "shop-a")
	if !strings.Contains(out, "unchanged") {
		t.Errorf("it does not say that nothing changed:\n%s", out)
	}
	if after := on(t, node, installed); after != before {
		t.Errorf("before:\n%s\nafter:\n%s\nit said:\n%s", before, after, out)
	}
}

// ours lists what the product has on a machine outside of the disk's state
// folder: devices, routes, rules, firewall, plugin, sockets.
const ours = `ip -o link show | grep -oE ' (mag|flannel)[^:@]*'
for f in -4 -6; do ip $f route show table all | grep -E 'proto (201|202|203)'; ip $f rule | grep -E 'proto (201|202|203)'; done
nft list tables | grep magpie
iptables-save 2>/dev/null | grep -i magpie
ls -d /opt/cni/bin/magpie-cni /etc/cni/net.d/*magpie* /run/magpie/*.sock 2>/dev/null
pgrep -lx 'magpie-agent|magpie-cni'
true`

// TestLeave takes a node out of the cluster and undoes on its machine what join
// did there; then the machine joins again and has its pods connected.
func TestLeave(t *testing.T) {
	const node = "b-1"
	if on(t, node, ours) == "" {
		t.Fatal("a node shows nothing of ours: this test would show nothing")
	}
	ctl(t, "leave", node, "--yes")
	if left := kubectl(t, "get", "node,linkreport", node, "--ignore-not-found", "-o", "name"); left != "" {
		t.Errorf("still in the cluster: %s", left)
	}
	script := ctl(t, "leave", node, "--script")
	out := pipe(t, node, script)
	left := on(t, node, ours+`
ls -d /var/lib/magpie /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap* /etc/systemd/system/kubelet.service 2>/dev/null
find /var/lib/kubelet -xdev -type f 2>/dev/null; systemctl is-active -q kubelet && echo kubelet runs; true`)
	if left != "" {
		t.Errorf("left on %s:\n%s\nthe script said:\n%s", node, left, out)
	}
	if again := pipe(t, node, script); !strings.Contains(again, "has left already") {
		t.Errorf("run again it says:\n%s", again)
	}
	joinNode(t, node, "shop-b")
	within(t, 2*time.Minute, func() error { return healthy(t) })
	gapWhile(t, newPod(t, node), newPod(t, "cloud-1"), func() {})
}

// TestHelm runs the chart's own test, uninstalls it, looks what is left on the
// nodes and whether Services work as without us, and installs it again.
func TestHelm(t *testing.T) {
	helm := func(words ...string) string {
		return lab(t, append([]string{"exec", "helm", "--namespace", "kube-system"}, words...)...)
	}
	settle(t) // the chart's test fails if anything is wrong
	if out := helm("test", "magpie", "--timeout", "2m"); !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test:\n%s", out)
	}
	helm("uninstall", "magpie", "--wait", "--timeout", "4m")
	for _, node := range workers() {
		if left := on(t, node, ours); left != "" {
			t.Errorf("left on %s:\n%s", node, left)
		}
	}
	within(t, 30*time.Second, func() error { // pods of the clean-up end by themselves
		left := kubectl(t, "get", "daemonset,deployment,job,pod,serviceaccount,configmap,secret,role,rolebinding", "-n", "kube-system",
			"-l", "app.kubernetes.io/name=magpie", "-o", "name") +
			kubectl(t, "get", "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding",
				"-l", "app.kubernetes.io/name=magpie", "-o", "name")
		if left != "" {
			return fmt.Errorf("left in the cluster:\n%s", left)
		}
		return nil
	})
	withoutHub(t)
	lab(t, "up", "--no-build")
	settle(t)
	connected(t)
	ctl(t, "hub", "status") // fails if anybody does not read through it
}

// withoutHub looks whether kube-proxy and CoreDNS have gone back to the API
// server, and whether kube-proxy follows it on every node.
func withoutHub(t *testing.T) {
	t.Helper()
	const name = "e2e-unhubbed"
	out := kubectl(t, "-n", "kube-system", "get", "daemonset/kube-proxy", "daemonset/coredns", "deployment/coredns", "configmap/coredns", "configmap/kube-proxy", "-o", "yaml")
	if strings.Contains(out, "magpie-hub") || strings.Contains(out, "hub-was") {
		t.Errorf("kube-proxy and CoreDNS are not as before:\n%s", out)
	}
	if out := kubectl(t, "-n", "kube-system", "get", "configmap", "kube-proxy-hub", "--ignore-not-found", "-o", "name"); out != "" {
		t.Errorf("left: %s", out)
	}
	kubectl(t, "-n", "kube-system", "rollout", "status", "daemonset/kube-proxy", "--timeout=60s")
	kubectl(t, "create", "service", "clusterip", name, "--tcp=80:80")
	defer kubectl(t, "delete", "service", name)
	ip := kubectl(t, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
	for _, node := range workers() {
		within(t, 30*time.Second, func() error {
			if out := on(t, node, "nft list table ip kube-proxy | grep -F '"+ip+" ' || true"); out == "" {
				return fmt.Errorf("kube-proxy on %s knows no new Service", node)
			}
			return nil
		})
	}
}
