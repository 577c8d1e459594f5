// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
)

// door starts a Manager and waits until it has synced.
func door(t *testing.T) *cluster.Manager {
	t.Helper()
	m, err := cluster.NewManager(server.Config, "kube-system")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Objects(); !errors.Is(err, reconcile.ErrNotReady) {
		t.Fatalf("before the first sync: %v, want ErrNotReady", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }() //nolint:errcheck // ends with ctx
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, 10*time.Second, m.Ready)
	return m
}

func sliceWorld(m *cluster.Manager) reconcile.World[[]plan.Manifest] {
	return m.Manifests(cluster.Scope{Manager: "magpie-slices", Parts: []cluster.Part{{Kind: "DomainSlice"}}})
}

func manifest(t *testing.T, yamlish map[string]any, subresource string) plan.Manifest {
	t.Helper()
	m, err := plan.ManifestOf(yamlish, subresource)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sliceOf(t *testing.T, name string, nodes ...string) plan.Manifest {
	t.Helper()
	list := []any{}
	for _, n := range nodes {
		list = append(list, map[string]any{"name": n})
	}
	return manifest(t, map[string]any{
		"apiVersion": "net.magpie.dev/v1alpha1", "kind": "DomainSlice",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"app.kubernetes.io/managed-by": "magpie-manager"}},
		"spec":     map[string]any{"domain": "gw-x", "nodes": list},
	}, "")
}

// round observes and applies, and returns the number of writes.
func round(t *testing.T, w reconcile.World[[]plan.Manifest], want ...plan.Manifest) int {
	t.Helper()
	have, err := w.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps, err := w.Apply(t.Context(), have, want)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func versions(t *testing.T) map[string]string {
	t.Helper()
	list, err := dyn().Resource(sliceRes).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, u := range list.Items {
		out[u.GetName()] = u.GetResourceVersion()
	}
	return out
}

func TestNoOpRoundWritesNothing(t *testing.T) {
	empty(t)
	w := sliceWorld(door(t))
	a, b := sliceOf(t, "gw-x-0", "n1", "n2"), sliceOf(t, "gw-x-1", "n3")
	if steps := round(t, w, a, b); steps != 2 {
		t.Fatalf("first round: %d writes, want 2", steps)
	}
	before := versions(t)
	if steps := round(t, w, a, b); steps != 0 {
		t.Errorf("second round: %d writes, want none", steps)
	}
	if steps := round(t, sliceWorld(door(t)), a, b); steps != 0 {
		t.Errorf("a new process: %d writes, want none", steps)
	}
	if d := cmp.Diff(before, versions(t)); d != "" {
		t.Errorf("resource versions moved (-before +after):\n%s", d)
	}
	if steps := round(t, w, a, sliceOf(t, "gw-x-1", "n3", "n4")); steps != 1 {
		t.Errorf("one slice changed: %d writes, want 1", steps)
	}
	if after := versions(t); after["gw-x-0"] != before["gw-x-0"] || after["gw-x-1"] == before["gw-x-1"] {
		t.Errorf("want gw-x-1 alone to move: before %v, after %v", before, after)
	}
}

func TestForeignChangeIsPutRight(t *testing.T) {
	empty(t)
	w := sliceWorld(door(t))
	want := sliceOf(t, "gw-x-0", "n1")
	round(t, w, want)
	patch := []byte(`{"spec":{"nodes":[{"name":"intruder"}]},"metadata":{"labels":{"team":"shops"}}}`)
	u, err := dyn().Resource(sliceRes).Patch(t.Context(), "gw-x-0", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		t.Fatal(err)
	}
	if spec := fmt.Sprint(u.Object["spec"]); !strings.Contains(spec, "intruder") {
		t.Fatalf("the edit did not happen: %s", spec)
	}
	eventually(t, 5*time.Second, func() error {
		if round(t, w, want) == 0 {
			return errors.New("the change is not seen")
		}
		return nil
	})
	after, err := get(sliceRes, "gw-x-0")
	if err != nil {
		t.Fatal(err)
	}
	if spec := fmt.Sprint(after.Object["spec"]); strings.Contains(spec, "intruder") {
		t.Errorf("still there: %s", spec)
	}
	if after.GetLabels()["team"] != "shops" {
		t.Error("a label of somebody else is gone")
	}
}

func TestDropsWhatIsNoLongerWanted(t *testing.T) {
	empty(t)
	w := sliceWorld(door(t))
	full := manifest(t, map[string]any{
		"apiVersion": "net.magpie.dev/v1alpha1", "kind": "DomainSlice",
		"metadata": map[string]any{"name": "gw-x-0", "labels": map[string]any{"app.kubernetes.io/managed-by": "magpie-manager"}},
		"spec":     map[string]any{"domain": "gw-x", "private": true, "extraCIDRs": []any{"172.20.0.0/24"}, "nodes": []any{map[string]any{"name": "n1"}}},
	}, "")
	foreign := `{apiVersion: net.magpie.dev/v1alpha1, kind: DomainSlice, metadata: {name: by-hand}, spec: {domain: gw-x}}`
	if err := server.ApplyYAML(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	round(t, w, full, sliceOf(t, "gw-x-1", "n2"))
	if steps := round(t, w, sliceOf(t, "gw-x-0", "n1")); steps != 2 {
		t.Errorf("%d writes, want a change and a deletion", steps)
	}
	u, err := get(sliceRes, "gw-x-0")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"domain": "gw-x", "nodes": []any{map[string]any{"name": "n1"}}}
	if d := cmp.Diff(want, u.Object["spec"]); d != "" {
		t.Errorf("fields we gave up are still there (-want +got):\n%s", d)
	}
	names := versions(t)
	if _, there := names["gw-x-1"]; there || names["by-hand"] == "" {
		t.Errorf("want gw-x-1 deleted and by-hand kept, have %v", names)
	}
}

// TestEditedGatewayIsLeftAlone walks the way of a cloud Gateway: the manager
// makes it, the operator gives it an address, and it is theirs.
func TestEditedGatewayIsLeftAlone(t *testing.T) {
	empty(t)
	makeNode(t, "cloud-1", "10.42.0.0/24")
	m := door(t)
	w := m.Manifests(cluster.Scope{
		Manager: "magpie-gateways", Parts: []cluster.Part{{Kind: "Gateway"}}, Yield: true,
		Own: nodepool.Ours,
	})
	desire := func() []plan.Manifest {
		in, err := m.Objects()
		if err != nil {
			t.Fatal(err)
		}
		p, err := nodepool.Gateways(in)
		if err != nil {
			t.Fatal(err)
		}
		return p.Manifests
	}
	if steps := round(t, w, desire()...); steps != 1 {
		t.Fatalf("%d writes, want gw-cloud", steps)
	}
	if steps := round(t, w, desire()...); steps != 0 {
		t.Fatalf("again %d writes, want none", steps)
	}
	patch := []byte(`[{"op":"add","path":"/spec/endpoints/0/publicIP","value":"203.0.113.7"}]`)
	edited, err := dyn().Resource(gateways).Patch(t.Context(), "gw-cloud", types.JSONPatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	makeNode(t, "cloud-2", "10.42.1.0/24")
	eventually(t, 5*time.Second, func() error {
		in, err := m.Objects()
		if err != nil || len(in.Nodes) != 2 || in.Gateways[0].ResourceVersion != edited.GetResourceVersion() {
			return fmt.Errorf("not seen yet: %w", err)
		}
		return nil
	})
	if steps := round(t, w, desire()...); steps != 0 {
		t.Errorf("%d writes to an edited Gateway", steps)
	}
	if err := client(t).CoreV1().Nodes().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error {
		if in, err := m.Objects(); err != nil || len(in.Nodes) != 0 {
			return fmt.Errorf("nodes are still there: %w", err)
		}
		return nil
	})
	if steps := round(t, w, desire()...); steps != 0 {
		t.Errorf("%d writes although the Gateway is the operator's", steps)
	}
	if _, err := get(gateways, "gw-cloud"); err != nil {
		t.Errorf("the operator's Gateway is gone: %v", err)
	}
}

// TestOneJoiningNodeRewritesOneSlice does it with 401 nodes in three slices.
func TestOneJoiningNodeRewritesOneSlice(t *testing.T) {
	empty(t)
	for i := range 401 {
		makeNode(t, fmt.Sprintf("n%03d", i), fmt.Sprintf("10.%d.%d.0/24", 100+i/250, i%250))
	}
	m := door(t)
	w := sliceWorld(m)
	desire := func() []plan.Manifest {
		in, err := m.Objects()
		if err != nil {
			t.Fatal(err)
		}
		p, err := nodepool.Slices(in, 1)
		if err != nil {
			t.Fatal(err)
		}
		return p.Manifests
	}
	if steps := round(t, w, desire()...); steps != 3 {
		t.Fatalf("%d slices of 401 nodes, want 3", steps)
	}
	if steps := round(t, w, desire()...); steps != 0 {
		t.Fatalf("again %d writes, want none", steps)
	}
	for what, do := range map[string]func(){
		"aaa joins":   func() { makeNode(t, "aaa", "10.99.0.0/24") },
		"n100 leaves": func() { deleteNode(t, "n100") },
	} {
		before := versions(t)
		do()
		steps := 0
		for quiet := 0; quiet < 20; quiet++ { // a node that joins is two events
			if n := round(t, w, desire()...); n > 0 {
				steps, quiet = steps+n, 0
			}
			time.Sleep(10 * time.Millisecond)
		}
		after := versions(t)
		moved := slices.DeleteFunc([]string{"gw-cloud-0", "gw-cloud-1", "gw-cloud-2"}, func(n string) bool {
			return after[n] == before[n]
		})
		if len(moved) != 1 || steps < 1 || steps > 2 {
			t.Errorf("%s: %d writes to %v, want one slice", what, steps, moved)
		}
	}
}

func deleteNode(t *testing.T, name string) {
	t.Helper()
	if err := client(t).CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
