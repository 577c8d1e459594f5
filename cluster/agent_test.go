// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

const agentManager = "magpie-agent"

// agentDoor starts the door of node shop-1.
func agentDoor(t *testing.T, cfg *rest.Config) *cluster.Agent {
	t.Helper()
	a, err := cluster.NewAgent(cfg, "shop-1", quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }() //nolint:errcheck // ends with ctx
	t.Cleanup(func() { cancel(); <-done })
	return a
}

func synced(t *testing.T, a *cluster.Agent) {
	t.Helper()
	eventually(t, 10*time.Second, func() error { _, err := a.Objects(); return err })
}

// own is what an agent says of its node.
func own(t *testing.T, node, mac string) []plan.Manifest {
	t.Helper()
	return []plan.Manifest{
		manifest(t, map[string]any{
			"apiVersion": "v1", "kind": "Node",
			"metadata": map[string]any{"name": node, "annotations": map[string]any{
				"flannel.alpha.coreos.com/backend-type": "vxlan",
				"flannel.alpha.coreos.com/backend-data": fmt.Sprintf(`{"VNI":1,"VtepMAC":"%s"}`, mac),
			}},
			"status": map[string]any{"conditions": []any{map[string]any{
				"type": "NetworkUnavailable", "status": "False", "reason": "MagpieIsUp", "message": "up",
				"lastTransitionTime": "2026-11-22T10:00:00Z", "lastHeartbeatTime": "2026-11-22T10:00:00Z",
			}}},
		}, "status"),
		manifest(t, map[string]any{
			"apiVersion": "net.magpie.dev/v1alpha1", "kind": "LinkReport",
			"metadata": map[string]any{"name": node},
			"spec":     map[string]any{"publicKey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "driver": "userspace", "mtu": 1420},
			"status": map[string]any{"peers": 1, "links": []any{
				map[string]any{"node": "cloud-1", "live": false, "path": "internet"},
			}},
		}, ""),
	}
}

func TestAgentWritesItsOwn(t *testing.T) {
	empty(t)
	n := makeNode(t, "shop-1", "10.42.0.0/24")
	n.Annotations = map[string]string{"somebody": "else"}
	if _, err := client(t).CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	a := agentDoor(t, server.Config)
	synced(t, a)
	w := a.Manifests(agentManager)
	if steps := round(t, w, own(t, "shop-1", "02:00:00:00:00:01")...); steps != 2 {
		t.Fatalf("%d writes, want the Node and the LinkReport", steps)
	}
	for range 3 {
		if steps := round(t, w, own(t, "shop-1", "02:00:00:00:00:01")...); steps != 0 {
			t.Errorf("%d writes although nothing changed", steps)
		}
	}
	if steps := round(t, w, own(t, "shop-1", "02:00:00:00:00:02")...); steps != 1 {
		t.Errorf("%d writes, want the Node", steps)
	}
	check := func(annotation, condition string) {
		t.Helper()
		n, err := client(t).CoreV1().Nodes().Get(t.Context(), "shop-1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		conditions := map[corev1.NodeConditionType]corev1.ConditionStatus{}
		for _, c := range n.Status.Conditions {
			conditions[c.Type] = c.Status
		}
		if n.Annotations["flannel.alpha.coreos.com/backend-data"] != annotation ||
			string(conditions["NetworkUnavailable"]) != condition {
			t.Errorf("annotations %v, conditions %v", n.Annotations, conditions)
		}
		if n.Annotations["somebody"] != "else" || conditions["Ready"] != "True" {
			t.Errorf("what others wrote is gone: annotations %v, conditions %v", n.Annotations, conditions)
		}
	}
	check(`{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}`, "False")
	if steps := round(t, w); steps != 2 {
		t.Errorf("clean-up: %d writes, want two", steps)
	}
	check("", "")
	if _, err := get(reports, "shop-1"); err == nil {
		t.Error("the LinkReport is still there after clean-up")
	}
}

func TestAgentHearsOnlyWhatItNeeds(t *testing.T) {
	empty(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	a := agentDoor(t, server.Config)
	synced(t, a)
	wake := a.Wake()
	time.Sleep(300 * time.Millisecond) // the first sync rings once more
	select {
	case <-wake:
	default:
	}
	makeNode(t, "shop-2", "10.42.1.0/24")
	select {
	case <-wake:
		t.Error("another Node woke the agent")
	case <-time.After(300 * time.Millisecond):
	}
	heartbeat(t, "shop-1")
	select {
	case <-wake:
		t.Error("a heartbeat woke the agent")
	case <-time.After(300 * time.Millisecond):
	}
	round(t, sliceWorld(door(t)), sliceOf(t, "gw-x-0", "shop-1"))
	select {
	case <-wake:
	case <-time.After(5 * time.Second):
		t.Fatal("a DomainSlice did not wake the agent")
	}
	o, err := a.Objects()
	if err != nil {
		t.Fatal(err)
	}
	if o.Node.Name != "shop-1" || len(o.Slices) != 1 || o.Slices[0].Spec.Nodes[0].Name != "shop-1" {
		t.Errorf("objects: node %v, slices %v", o.Node, o.Slices)
	}
}

func heartbeat(t *testing.T, node string) {
	t.Helper()
	n, err := client(t).CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].LastHeartbeatTime = metav1.Now()
	}
	if _, err := client(t).CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestServerAway dials a port that accepts and never answers, and one that
// refuses: no caller waits for either.
func TestServerAway(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for name, host := range map[string]string{"silent": "https://" + silent.Addr().String(), "refused": "https://127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			a := agentDoor(t, &rest.Config{Host: host})
			a.Wake()
			if _, err := a.Objects(); !errors.Is(err, reconcile.ErrNotReady) {
				t.Errorf("objects: %v, want ErrNotReady", err)
			}
			if _, err := a.Manifests(agentManager).Observe(t.Context()); !errors.Is(err, reconcile.ErrNotReady) {
				t.Errorf("observe: %v, want ErrNotReady", err)
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
