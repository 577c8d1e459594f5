// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/test/apiserver"
)

// as is a client of somebody else.
func as(user string, groups ...string) *rest.Config {
	cfg := rest.CopyConfig(server.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	return cfg
}

func label(pool string) string {
	return fmt.Sprintf(`{"metadata":{"labels":{"apps.openyurt.io/nodepool":%s}}}`, pool)
}

// installPoolPolicies returns when policies/pools.yaml is in force.
func installPoolPolicies(t *testing.T) {
	t.Helper()
	ns := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n---\n"
	text := ns + apiserver.Chart(t, namespace, "policies/pools.yaml", "manager/rbac.yaml")
	if err := server.ApplyYAML(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	makeNode(t, "probe", "10.42.250.0/24")
	// Policies take effect, and end, some time after they are written.
	moved := func() error {
		for _, pool := range []string{"null", `"x"`, `"y"`} {
			if err := patchNode(server.Config, "probe", label(pool)); err != nil {
				return err
			}
		}
		return nil
	}
	t.Cleanup(func() { // other tests do with nodes and pools as they like
		r := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"}
		for _, name := range []string{"magpie-pool-nodes", "magpie-pools", "magpie-manager-nodes"} {
			if err := dyn().Resource(r).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
		eventually(t, 20*time.Second, moved)
	})
	eventually(t, 20*time.Second, func() error {
		if moved() == nil {
			return errors.New("the policy is not in force")
		}
		return nil
	})
}

// TestPoolPolicies plays who does to nodes and pools what OpenYurt's webhooks
// refuse.
func TestPoolPolicies(t *testing.T) {
	empty(t)
	installPoolPolicies(t)
	makeNode(t, "a", "10.42.0.0/24")
	patch := func(what, text, why string, sub ...string) {
		t.Helper()
		if err := patchNode(server.Config, "a", text, sub...); why == "" && err != nil {
			t.Errorf("%s: %v", what, err)
		} else if why != "" {
			refused(t, what, err, why)
		}
	}
	patch("into a pool", label(`"p"`), "")
	patch("into the same pool", label(`"p"`), "")
	patch("into another pool", label(`"q"`), "node a is in pool p and cannot be moved to q in place")
	patch("and what to do", label(`"q"`), "kubectl label node a apps.openyurt.io/nodepool- && kubectl label node a apps.openyurt.io/nodepool=q")
	patch("into another pool by the status", label(`"q"`), "cannot be moved", "status")
	patch("out of the pool", label("null"), "")
	patch("into another then", label(`"q"`), "")

	kubelet := as("system:node:a", "system:nodes")
	for _, k := range []string{"nodepool.openyurt.io/previous-attributes", "net.magpie.dev/pool-record"} {
		text := fmt.Sprintf(`{"metadata":{"annotations":{%q:"{}"}}}`, k)
		refused(t, "a kubelet that writes "+k, patchNode(kubelet, "a", text), "a kubelet may not write")
		refused(t, "the same by the status", patchNode(kubelet, "a", text, "status"), "a kubelet may not write")
		patch(k, text, "")
	}
	if err := patchNode(kubelet, "a", `{"metadata":{"annotations":{"volumes.kubernetes.io/x":"y"}}}`); err != nil {
		t.Errorf("a kubelet that writes another annotation: %v", err)
	}

	manager := as("system:serviceaccount:"+namespace+":magpie-manager", "system:serviceaccounts")
	if err := patchNode(manager, "a", `{"metadata":{"labels":{"x":"y"},"annotations":{"x":"y"}},"spec":{"taints":[{"key":"x","effect":"NoSchedule"}]}}`); err != nil {
		t.Errorf("the manager, what is its own: %v", err)
	}
	for what, text := range map[string]string{
		"cordons": `{"spec":{"unschedulable":true}}`, "takes an owner": `{"metadata":{"finalizers":["a.example/b"]}}`,
		"sets a provider": `{"spec":{"providerID":"x"}}`,
	} {
		refused(t, "the manager "+what, patchNode(manager, "a", text), "labels, annotations and taints of a node only")
	}
	refused(t, "the manager makes a node", func() error {
		_, err := apiserver.Dynamic(manager).Resource(nodes).Patch(t.Context(), "b", types.ApplyPatchType,
			[]byte(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"b"}}`), metav1.PatchOptions{FieldManager: "x"})
		return err
	}(), "")
}

// TestPoolsAreKept: a pool does not change what it is, in any version, and
// stays while it has nodes.
func TestPoolsAreKept(t *testing.T) {
	empty(t)
	installPoolPolicies(t)
	const np = "apiVersion: apps.openyurt.io/v1beta2\nkind: NodePool\nmetadata: {name: kept}\n"
	if err := server.ApplyYAML(t.Context(), np+"spec: {type: Edge, interConnectivity: true}"); err != nil {
		t.Fatal(err)
	}
	older := pools
	older.Version = "v1beta1"
	change := func(r schema.GroupVersionResource, text string) error {
		_, err := dyn().Resource(r).Patch(t.Context(), "kept", types.MergePatchType, []byte(text), metav1.PatchOptions{})
		return err
	}
	for what, c := range map[string]struct {
		in   schema.GroupVersionResource
		text string
	}{
		"interConnectivity":              {pools, `{"spec":{"interConnectivity":false}}`},
		"interConnectivity, old version": {older, `{"spec":{"interConnectivity":null}}`},
		"hostNetwork, old version":       {older, `{"spec":{"hostNetwork":true}}`},
		"type, old version":              {older, `{"spec":{"type":"Cloud"}}`},
	} {
		if err := change(c.in, c.text); err == nil {
			t.Errorf("%s can be changed", what)
		} else {
			expect(t, err, "immutable")
		}
	}
	if err := change(older, `{"spec":{"labels":{"a":"b"}}}`); err != nil {
		t.Errorf("labels: %v", err)
	}
	remove := func() error { return dyn().Resource(pools).Delete(t.Context(), "kept", metav1.DeleteOptions{}) }
	count := func(ready, not int) {
		t.Helper()
		text := fmt.Sprintf(`{"status":{"readyNodeNum":%d,"unreadyNodeNum":%d}}`, ready, not)
		if _, err := dyn().Resource(pools).Patch(t.Context(), "kept", types.MergePatchType, []byte(text), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	count(2, 1)
	refused(t, "deleting a pool with nodes", remove(), "pool kept has 3 nodes inside")
	refused(t, "deleting all pools", dyn().Resource(pools).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}), "has 3 nodes inside")
	count(0, 1)
	refused(t, "deleting a pool with a node", remove(), "pool kept has 1 node inside")
	count(0, 0)
	if err := remove(); err != nil {
		t.Errorf("deleting an empty pool: %v", err)
	}
}
