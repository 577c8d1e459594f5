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

// runProxy runs kube-proxy in nftables mode until stop is called.
func runProxy(t *testing.T, config string) (stop func()) {
	t.Helper()
	return runProxyIn(t, "nftables", config)
}

func runProxyIn(t *testing.T, mode, config string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, "kube-proxy"), "--hostname-override="+node, "--kubeconfig="+config, "--proxy-mode="+mode,
		"--cluster-cidr=10.42.0.0/16", "--conntrack-max-per-core=0", "--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249")
	out := &record{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("kube-proxy:\n%s", out.text.String())
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

// TestKubeProxy: a real kube-proxy writes rules for what its node may use, at
// once when that changes, and also when it starts while the line is cut.
func TestKubeProxy(t *testing.T) {
	w := begin(t, t.TempDir())
	account(t, "proxied", false)
	shop(t, "proxied", "till", []string{"a-1", "a-2", "b-1"}, "openyurt.io/topologyKeys", "openyurt.io/nodepool")
	shop(t, "proxied", "scale", []string{"a-1", "a-2", "b-1"})
	ownNode(t)
	config := kubeconfig(t, w.config(proxier(t)))
	stop := runProxy(t, config)
	expect := func(service string, want ...string) {
		t.Helper()
		eventually(t, func() error { return rules(t, "proxied/"+service, want...) })
	}
	expect("till", "10.42.1.1", "10.42.2.1")
	expect("scale", "10.42.1.1", "10.42.2.1", "10.42.3.1")

	annotate := func(value string) {
		t.Helper()
		patch := []byte(`{"metadata":{"annotations":{"openyurt.io/topologyKeys":` + value + `}}}`)
		if _, err := admin(t).CoreV1().Services("proxied").Patch(t.Context(), "till", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
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

	w.line.cut()
	w.later(3 * time.Minute)
	stop()
	sandbox.Run(t, "nft delete table ip kube-proxy")
	runProxy(t, config)
	expect("till", "10.42.1.1", "10.42.3.1")
	expect("scale", "10.42.1.1", "10.42.2.1", "10.42.3.1")

	w.line.mend()
	sliced := slice("scale", []string{"a-1"})
	if _, err := admin(t).DiscoveryV1().EndpointSlices("proxied").Update(t.Context(), sliced, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("scale", "10.42.1.1")
	if stats := w.store.Stats(); stats[3].Kind != hub.Nodes || stats[3].Watchers != 1 {
		t.Errorf("kube-proxy does not watch its Node through the hub: %+v", stats[3])
	}
}
