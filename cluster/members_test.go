// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
)

// operator plays who works on pool p and on node a.
type operator struct {
	*testing.T
	door *cluster.Manager
}

func (o operator) node() *corev1.Node {
	o.Helper()
	n, err := client(o).CoreV1().Nodes().Get(o.Context(), "a", metav1.GetOptions{})
	if err != nil {
		o.Fatal(err)
	}
	return n
}

// edit changes the Node by a merge patch, as kubectl label and kubectl annotate do.
func (o operator) edit(patch string) {
	o.Helper()
	_, err := client(o).CoreV1().Nodes().Patch(o.Context(), "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl"})
	if err != nil {
		o.Fatal(err)
	}
}

// apply is server-side apply of labels, by whoever keeps Nodes in files.
func (o operator) apply(labels map[string]string) {
	o.Helper()
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "a", "labels": labels},
	})
	if err != nil {
		o.Fatal(err)
	}
	force := true
	_, err = client(o).CoreV1().Nodes().Patch(o.Context(), "a", types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: "files", Force: &force})
	if err != nil {
		o.Fatal(err)
	}
}

func (o operator) pool(spec string) {
	o.Helper()
	if err := server.ApplyYAML(o.Context(), "{apiVersion: apps.openyurt.io/v1beta2, kind: NodePool, metadata: {name: p}, spec: "+spec+"}"); err != nil {
		o.Fatal(err)
	}
}

// settle runs rounds until the door holds what the API has and a round writes
// nothing, and returns the writes.
func (o operator) settle() int {
	o.Helper()
	writes := 0
	eventually(o, 10*time.Second, func() error {
		in, err := o.door.Objects()
		if err != nil {
			return err
		}
		if err := o.seen(in.Nodes); err != nil {
			return err
		}
		list, err := dyn().Resource(pools).List(o.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(list.Items) != len(in.Pools) || len(in.Pools) == 1 && in.Pools[0].ResourceVersion != list.Items[0].GetResourceVersion() {
			return errors.New("the pool is not seen yet")
		}
		p, err := nodepool.Members(in)
		if err != nil {
			return err
		}
		w := o.door.Members()
		have, err := w.Observe(o.Context())
		if err != nil {
			return err
		}
		steps, err := w.Apply(o.Context(), have, p.Manifests)
		writes += steps
		if err == nil && steps > 0 {
			err = errors.New("still writing")
		}
		return err
	})
	return writes
}

func (o operator) seen(known []*corev1.Node) error {
	list, err := client(o).CoreV1().Nodes().List(o.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(list.Items) != len(known) {
		return errors.New("not all nodes are seen yet")
	}
	for i, n := range list.Items {
		if known[i].ResourceVersion != n.ResourceVersion {
			return fmt.Errorf("node %s is not seen yet", n.Name)
		}
	}
	return nil
}

// TestPoolGivesAndTakesBack follows a node into a pool and out again.
func TestPoolGivesAndTakesBack(t *testing.T) {
	empty(t)
	makeNode(t, "a", "10.42.0.0/24")
	o := operator{t, door(t)}
	o.edit(`{"metadata":{"labels":{"tier":"gold","rack":"7"},"annotations":{"owner":"me"}},
		"spec":{"taints":[{"key":"broken","effect":"NoExecute"},{"key":"site","value":"x","effect":"NoSchedule"}]}}`)
	before := o.node()
	o.pool(`{labels: {tier: silver, shop: a}, annotations: {owner: shops, note: "1"},
		taints: [{key: site, value: a, effect: NoSchedule}, {key: shop, value: a, effect: NoSchedule}]}`)
	if writes := o.settle(); writes != 0 {
		t.Fatalf("%d writes before the node is in the pool", writes)
	}
	o.edit(`{"metadata":{"labels":{"apps.openyurt.io/nodepool":"p"}}}`)
	if writes := o.settle(); writes != 1 {
		t.Errorf("%d writes for a node that joins, want 1", writes)
	}
	n := o.node()
	want := map[string]string{"tier": "silver", "shop": "a", "rack": "7", api.LabelPool: "p", api.LabelPoolType: "edge"}
	if d := cmp.Diff(want, n.Labels); d != "" {
		t.Errorf("labels in the pool (-want +got):\n%s", d)
	}
	if n.Annotations["owner"] != "shops" || n.Annotations["note"] != "1" {
		t.Errorf("annotations in the pool: %v", n.Annotations)
	}
	if d := cmp.Diff([]string{"broken:NoExecute", "site=x:NoSchedule", "shop=a:NoSchedule"}, taints(n)); d != "" {
		t.Errorf("taints in the pool (-want +got):\n%s", d)
	}
	for _, e := range n.ManagedFields {
		if e.Manager == "magpie-pools" && strings.Contains(string(e.FieldsV1.GetRawBytes()), `"f:rack"`) {
			t.Error("a label of the node's own is ours in managedFields")
		}
	}

	o.pool(`{labels: {tier: silver}, annotations: {note: "2"}, taints: [{key: shop, value: b, effect: NoSchedule}]}`)
	o.settle()
	n = o.node()
	if n.Annotations["owner"] != "me" || n.Annotations["note"] != "2" || n.Labels["shop"] != "" {
		t.Errorf("after the pool gave up a label and an annotation: %v %v", n.Labels, n.Annotations)
	}
	if d := cmp.Diff([]string{"broken:NoExecute", "site=x:NoSchedule", "shop=b:NoSchedule"}, taints(n)); d != "" {
		t.Errorf("taints after the pool changed one (-want +got):\n%s", d)
	}

	o.edit(`{"metadata":{"labels":{"apps.openyurt.io/nodepool":null}}}`)
	o.settle()
	n = o.node()
	if d := cmp.Diff(before.Labels, n.Labels); d != "" {
		t.Errorf("labels after the node left (-before +after):\n%s", d)
	}
	if d := cmp.Diff(before.Annotations, n.Annotations); d != "" {
		t.Errorf("annotations after the node left (-before +after):\n%s", d)
	}
	if d := cmp.Diff(taints(before), taints(n)); d != "" {
		t.Errorf("taints after the node left (-before +after):\n%s", d)
	}
}

func taints(n *corev1.Node) []string {
	var out []string
	for _, t := range n.Spec.Taints {
		if !strings.HasPrefix(t.Key, "node.kubernetes.io/") { // of the API server
			out = append(out, t.ToString())
		}
	}
	return out
}

// TestPoolOpenYurtFilled takes over a node that OpenYurt's manager filled: what
// its record names goes with the pool.
func TestPoolOpenYurtFilled(t *testing.T) {
	empty(t)
	makeNode(t, "a", "10.42.0.0/24")
	o := operator{t, door(t)}
	_, err := client(t).CoreV1().Nodes().Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":
		{"labels":{"apps.openyurt.io/nodepool":"p","tier":"silver","zone":"z","mine":"1"},
		"annotations":{"nodepool.openyurt.io/previous-attributes":"{\"labels\":{\"tier\":\"silver\",\"zone\":\"z\"}}"}}}`),
		metav1.PatchOptions{FieldManager: "yurt-manager"})
	if err != nil {
		t.Fatal(err)
	}
	o.pool(`{labels: {tier: silver}}`)
	o.settle()
	if got, want := o.node().Annotations[api.AnnotationPrevious], `{"labels":{"tier":"silver"}}`; got != want {
		t.Errorf("OpenYurt's record is %s, want what the pool says, %s, or its manager would write the node again", got, want)
	}
	if l := o.node().Labels; l["tier"] != "silver" || l["zone"] != "" || l["mine"] != "1" {
		t.Errorf("taken over: %v", l)
	}
	if err := dyn().Resource(pools).Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	o.settle()
	if d := cmp.Diff(map[string]string{"mine": "1", api.LabelPool: "p"}, o.node().Labels); d != "" {
		t.Errorf("after the pool has gone (-want +got):\n%s", d)
	}
}

// TestPoolSharesALabel: a label that somebody applies with the very value of the
// pool is the node's own, too, and stays when the pool's goes. Only
// managedFields knows of it.
func TestPoolSharesALabel(t *testing.T) {
	empty(t)
	makeNode(t, "a", "10.42.0.0/24")
	o := operator{t, door(t)}
	o.edit(`{"metadata":{"labels":{"apps.openyurt.io/nodepool":"p"}}}`)
	o.pool(`{labels: {tier: silver, shop: a}}`)
	o.settle()
	o.apply(map[string]string{"tier": "silver"})
	o.settle()
	o.edit(`{"metadata":{"labels":{"apps.openyurt.io/nodepool":null}}}`)
	o.settle()
	if d := cmp.Diff(map[string]string{"tier": "silver"}, o.node().Labels); d != "" {
		t.Errorf("after the node left (-want +got):\n%s", d)
	}
	if n := o.node(); n.Annotations[api.AnnotationPrevious] != "" || n.Annotations[api.AnnotationPoolRecord] != "" {
		t.Errorf("records stay behind: %v", n.Annotations)
	}
}

// TestPoolLosesARace: what a round decided on an older Node is not written.
func TestPoolLosesARace(t *testing.T) {
	empty(t)
	makeNode(t, "a", "10.42.0.0/24")
	o := operator{t, door(t)}
	o.edit(`{"metadata":{"labels":{"apps.openyurt.io/nodepool":"p"}}}`)
	o.pool(`{taints: [{key: shop, effect: NoSchedule}]}`)
	stopped, m := stoppedDoor(t)
	o.edit(`{"spec":{"taints":[{"key":"broken","effect":"NoExecute"}]}}`)
	_, err := stopped.Members().Apply(t.Context(), nil, m)
	if !errors.Is(err, reconcile.ErrNotReady) {
		t.Errorf("a write on an old Node: %v, want ErrNotReady", err)
	}
	o.settle()
	if d := cmp.Diff([]string{"broken:NoExecute", "shop:NoSchedule"}, taints(o.node())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	deleteNode(t, "a")
	if steps, err := stopped.Members().Apply(t.Context(), nil, m); err != nil || steps != 0 {
		t.Errorf("a node that has gone: %d writes, %v", steps, err)
	}
	if _, err := get(nodes, "a"); err == nil {
		t.Error("a write made the node again")
	}
}

// TestPoolLaw does at random what operators do to a node and to its pool, and
// holds after each step: the pool's values are there while the node is in it,
// all others are the node's own.
func TestPoolLaw(t *testing.T) {
	empty(t)
	makeNode(t, "a", "10.42.0.0/24")
	o := operator{t, door(t)}
	d := rand.New(rand.NewPCG(4, 1))
	pick := func(from ...string) string { return from[d.IntN(len(from))] }
	own, gives, member := map[string]string{}, map[string]string{}, false
	o.pool("{}")
	for step := range 150 {
		what := ""
		k, v := pick("k1", "k2", "k3"), pick("x", "y")
		switch d.IntN(5) {
		case 0:
			what = "label " + k + "=" + v
			o.edit(fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, k, v))
			if !member || gives[k] != v { // who writes what is there changes nothing, and nobody can see it
				own[k] = v
			}
		case 1:
			what = "label " + k + "-"
			o.edit(fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, k))
			delete(own, k)
		case 2:
			what = "the pool gives " + k + "=" + v
			gives[k] = v
		case 3:
			what = "the pool gives no " + k
			delete(gives, k)
		case 4:
			member = !member
			what = fmt.Sprintf("member %t", member)
			label := map[bool]string{true: `"p"`, false: "null"}[member]
			o.edit(`{"metadata":{"labels":{"apps.openyurt.io/nodepool":` + label + `}}}`)
		}
		text, err := json.Marshal(gives)
		if err != nil {
			t.Fatal(err)
		}
		o.pool(`{labels: ` + string(text) + `}`)
		if writes := o.settle(); writes > 1 {
			t.Fatalf("step %d, %s: %d writes", step, what, writes)
		}
		want := maps.Clone(own)
		if member {
			maps.Copy(want, gives)
		}
		have := map[string]string{}
		for k, v := range o.node().Labels {
			if slices.Contains([]string{"k1", "k2", "k3"}, k) {
				have[k] = v
			}
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Fatalf("step %d, %s (-want +got):\n%s", step, what, diff)
		}
	}
}

// stoppedDoor is a door that has seen the API once and no longer watches, and
// what it would write.
func stoppedDoor(t *testing.T) (*cluster.Manager, []plan.Manifest) {
	t.Helper()
	m, err := cluster.NewManager(server.Config, "kube-system")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }() //nolint:errcheck // ends with ctx
	eventually(t, 10*time.Second, m.Ready)
	cancel()
	<-done
	in, err := m.Objects()
	if err != nil {
		t.Fatal(err)
	}
	p, err := nodepool.Members(in)
	if err != nil {
		t.Fatal(err)
	}
	return m, p.Manifests
}
