// SPDX-License-Identifier: Apache-2.0

package clients_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/test/lab/fetch"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// proxier returns the token of an account with the rights of kube-proxy.
func proxier(t *testing.T) string {
	t.Helper()
	if err := server.ApplyYAML(t.Context(), `
apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-proxy, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: test-kube-proxy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-proxier"}
subjects: [{kind: ServiceAccount, name: kube-proxy, namespace: kube-system}]
`); err != nil {
		t.Fatal(err)
	}
	token, err := admin(t).CoreV1().ServiceAccounts("kube-system").CreateToken(t.Context(), "kube-proxy", &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// ownNode makes the Node that kube-proxy runs on.
func ownNode(t *testing.T) {
	t.Helper()
	ctx, nodes := context.Background(), admin(t).CoreV1().Nodes()
	n, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Delete(ctx, node, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.9.0.1"}}
	if _, err := nodes.UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	sandbox.Run(t, "ip address replace 10.9.0.1/32 dev lo")
}

// record is what a process prints.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// runProxyIn runs the newest kube-proxy in a mode until stop is called.
func runProxyIn(t *testing.T, mode, config string) (stop func()) {
	t.Helper()
	return runProxy(t, tool(t, "kube-proxy"), mode, config)
}

// runProxy runs a kube-proxy until stop is called.
func runProxy(t *testing.T, exe, mode, config string, flags ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, exe, append([]string{
		"--hostname-override=" + node, "--kubeconfig=" + config, "--proxy-mode=" + mode, "--cluster-cidr=10.42.0.0/16",
		"--conntrack-max-per-core=0", "--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249",
	}, flags...)...)
	out := &record{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", exe, out.text.String())
		}
	})
	t.Cleanup(stop)
	return stop
}

// rules reports whether kube-proxy's rules are for exactly these endpoints of
// the Service.
func rules(t *testing.T, service string, want ...string) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", "list", "table", "ip", "kube-proxy").CombinedOutput()
	if err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	_, chain, _ := strings.Cut(string(out), "-"+service+"/tcp/web {")
	chain, _, _ = strings.Cut(chain, "\tchain ")
	var got []string
	for _, ip := range []string{"10.42.1.1", "10.42.2.1", "10.42.3.1"} {
		if strings.Contains(chain, ip) {
			got = append(got, ip)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		return fmt.Errorf("%s has rules for %v, want %v", service, got, want)
	}
	return nil
}

// requests is how many lists and watches the hub has answered or is answering.
func (w *world) requests() uint64 {
	s := w.server.Stats()
	return s.Answered + s.Refused + uint64(s.Watchers)
}

// TestKubeProxy: a real kube-proxy, the newest and the oldest that must work,
// writes rules for what its node may use, at once when that changes, and also
// when it starts while the line is cut. It never asks again without a reason.
func TestKubeProxy(t *testing.T) {
	for _, v := range []struct {
		version string
		flags   []string
	}{
		{fetch.Kubernetes, nil},
		// nftables was alpha then. No other flag used here has changed since.
		{fetch.Oldest, []string{"--feature-gates=NFTablesProxyMode=true"}},
	} {
		t.Run(v.version, func(t *testing.T) {
			exe := tool(t, "kube-proxy", v.version)
			proxied(t, "proxied-"+strings.ReplaceAll(v.version, ".", "-"), func(config string) func() {
				return runProxy(t, exe, "nftables", config, v.flags...)
			})
		})
	}
}

func proxied(t *testing.T, namespace string, start func(config string) (stop func())) {
	t.Helper()
	t.Cleanup(func() { sandbox.Run(t, "nft delete table ip kube-proxy") }) // kube-proxy leaves its rules
	w := begin(t, t.TempDir())
	account(t, namespace, false)
	shop(t, namespace, "till", []string{"a-1", "a-2", "b-1"}, "openyurt.io/topologyKeys", "openyurt.io/nodepool")
	shop(t, namespace, "scale", []string{"a-1", "a-2", "b-1"})
	ownNode(t)
	config := kubeconfig(t, w.config(proxier(t)))
	stop := start(config)
	expect := func(service string, want ...string) {
		t.Helper()
		eventually(t, func() error { return rules(t, namespace+"/"+service, want...) })
	}
	expect("till", "10.42.1.1", "10.42.2.1")
	expect("scale", "10.42.1.1", "10.42.2.1", "10.42.3.1")
	asked := w.requests()

	annotate := func(value string) {
		t.Helper()
		patch := []byte(`{"metadata":{"annotations":{"openyurt.io/topologyKeys":` + value + `}}}`)
		if _, err := admin(t).CoreV1().Services(namespace).Patch(t.Context(), "till", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	annotate(`"kubernetes.io/hostname"`)
	expect("till", "10.42.1.1")
	annotate(`null`)
	expect("till", "10.42.1.1", "10.42.2.1", "10.42.3.1")
	annotate(`"openyurt.io/nodepool"`)
	w.store.Place(place(map[string]string{"a-1": "shop-b", "a-2": "shop-a", "b-1": "shop-b"})) // this node moves
	expect("till", "10.42.1.1", "10.42.3.1")
	reslice := func(nodes ...string) {
		t.Helper()
		if _, err := admin(t).DiscoveryV1().EndpointSlices(namespace).Update(t.Context(), slice("scale", nodes), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		reslice("a-1")
		reslice("a-1", "a-2", "b-1")
	}
	reslice("a-1", "a-2") // as none of the hundred was: the last of them has come, too
	expect("scale", "10.42.1.1", "10.42.2.1")
	reslice("a-1", "a-2", "b-1")
	expect("scale", "10.42.1.1", "10.42.2.1", "10.42.3.1")
	if now := w.requests(); now != asked {
		t.Errorf("kube-proxy has asked %d times more, though its watches held", now-asked)
	}

	w.line.cut()
	w.later(3 * time.Minute)
	stop()
	sandbox.Run(t, "nft delete table ip kube-proxy")
	start(config)
	expect("till", "10.42.1.1", "10.42.3.1")
	expect("scale", "10.42.1.1", "10.42.2.1", "10.42.3.1")
	if now := w.requests() - asked; now > 7 { // its own Node, and a list and a watch of three kinds
		t.Errorf("kube-proxy has asked %d times when it began anew", now)
	}

	w.line.mend()
	reslice("a-1")
	expect("scale", "10.42.1.1")
	if stats := w.store.Stats(); stats[3].Kind != hub.Nodes || stats[3].Watchers != 1 {
		t.Errorf("kube-proxy does not watch its Node through the hub: %+v", stats[3])
	}
	for _, k := range w.store.Stats() {
		if k.Gone > 0 {
			t.Errorf("readers of %s were told to list again", k.Kind.Resource)
		}
	}
}
