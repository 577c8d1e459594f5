// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/apiserver"
)

const namespace = "magpie-system"

// podToken returns the token of an agent's pod on that node.
func podToken(t *testing.T, node string) *rest.Config {
	t.Helper()
	ctx, c := t.Context(), client(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-" + node, Namespace: namespace},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: "magpie-agent",
			Containers: []corev1.Container{{Name: "agent", Image: "magpie"}},
		},
	}
	pod, err := c.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		zero := int64(0)
		err := c.CoreV1().Pods(namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
		if err != nil {
			t.Error(err)
		}
	})
	return tokenFor(t, &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID})
}

func tokenFor(t *testing.T, ref *authv1.BoundObjectReference) *rest.Config {
	t.Helper()
	r, err := client(t).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "magpie-agent",
		&authv1.TokenRequest{Spec: authv1.TokenRequestSpec{BoundObjectRef: ref}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(server.Config)
	cfg.BearerToken = r.Status.Token
	cfg.QPS = -1
	return cfg
}

func installPolicies(t *testing.T) {
	t.Helper()
	ns := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n---\n"
	if err := server.ApplyYAML(t.Context(), ns+apiserver.Chart(t, namespace,
		"policies/nodes.yaml", "policies/linkreports.yaml", "agent/rbac.yaml")); err != nil {
		t.Fatal(err)
	}
}

func patchNode(cfg *rest.Config, node, patch string, sub ...string) error {
	_, err := apiserver.Dynamic(cfg).Resource(nodes).Patch(context.Background(), node, types.StrategicMergePatchType,
		[]byte(patch), metav1.PatchOptions{}, sub...)
	return err
}

// createReport asks whether a LinkReport could be made.
func createReport(cfg *rest.Config, node string) error {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "net.magpie.dev/v1alpha1", "kind": "LinkReport", "metadata": map[string]any{"name": node},
	}}
	_, err := apiserver.Dynamic(cfg).Resource(reports).Create(context.Background(), u,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// TestAgentIsConfined holds the chart's policies against the token of a pod on
// shop-1: what it must be able to do, and what no agent may.
func TestAgentIsConfined(t *testing.T) {
	empty(t)
	installPolicies(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	makeNode(t, "shop-2", "10.42.1.0/24")
	cfg := podToken(t, "shop-1")
	// Policies take effect some time after they are written.
	eventually(t, 20*time.Second, func() error {
		err := patchNode(cfg, "shop-2", `{"metadata":{"annotations":{"flannel.alpha.coreos.com/x":"y"}}}`, "status")
		if err == nil || createReport(cfg, "shop-2") == nil {
			return errors.New("a policy is not in force")
		}
		return nil
	})

	a := agentDoor(t, cfg)
	synced(t, a)
	if steps := round(t, a.Manifests(agentManager), own(t, "shop-1", "02:00:00:00:00:01")...); steps != 2 {
		t.Errorf("its own Node and LinkReport: %d writes, want 2", steps)
	}
	if steps := round(t, a.Manifests(agentManager), own(t, "shop-1", "02:00:00:00:00:02")...); steps != 1 {
		t.Errorf("its own Node again: %d writes, want 1", steps)
	}

	other := own(t, "shop-2", "02:00:00:00:00:03")
	for name, m := range map[string]plan.Manifest{"Node": other[0], "LinkReport": other[1]} {
		_, err := a.Manifests(agentManager).Apply(t.Context(), nil, []plan.Manifest{m})
		refused(t, "another's "+name, err, "the agent of node shop-1 may write")
	}
	for name, c := range map[string]struct{ patch, sub, why string }{
		// By way of nodes itself RBAC refuses already.
		"label":      {`{"metadata":{"labels":{"raven.openyurt.io/gateway":"gw-cloud"}}}`, "", ""},
		"taint":      {`{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}}`, "", ""},
		"a label":    {`{"metadata":{"labels":{"raven.openyurt.io/gateway":"gw-cloud"}}}`, "status", "labels"},
		"annotation": {`{"metadata":{"annotations":{"node.alpha.kubernetes.io/ttl":"0"}}}`, "status", "flannel"},
		"address":    {`{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}`, "status", "NetworkUnavailable of"},
		"Ready":      {`{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, "status", "NetworkUnavailable of"},
	} {
		var sub []string
		if c.sub != "" {
			sub = []string{c.sub}
		}
		refused(t, name+" of its own Node", patchNode(cfg, "shop-1", c.patch, sub...), c.why)
	}
	for _, r := range []string{"shop-1", "shop-2"} {
		err := apiserver.Dynamic(cfg).Resource(nodes).Delete(t.Context(), r, metav1.DeleteOptions{})
		refused(t, "deleting "+r, err, "")
	}
}

// TestTokenWithoutNodeIsConfined uses a token made by hand, which names no node.
func TestTokenWithoutNodeIsConfined(t *testing.T) {
	empty(t)
	installPolicies(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	cfg := tokenFor(t, nil)
	eventually(t, 20*time.Second, func() error {
		if patchNode(cfg, "shop-1", `{"metadata":{"annotations":{"flannel.alpha.coreos.com/x":"y"}}}`, "status") == nil {
			return errors.New("the policy is not in force")
		}
		return nil
	})
	err := patchNode(cfg, "shop-1", `{"metadata":{"annotations":{"flannel.alpha.coreos.com/x":"z"}}}`, "status")
	refused(t, "a Node with a token that names none", err, "does not name a node")
}

func refused(t *testing.T, what string, err error, why string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: accepted", what)
	case !strings.Contains(err.Error(), "forbidden") && !strings.Contains(err.Error(), "denied"):
		t.Errorf("%s: fails, but is not refused: %v", what, err)
	case !strings.Contains(err.Error(), why):
		t.Errorf("%s: refused, but not because of %q: %v", what, why, err)
	}
}
