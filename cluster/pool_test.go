// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// setPoolStatus writes what an operator of OpenYurt would see.
func setPoolStatus(t *testing.T, name string) {
	t.Helper()
	status := `{"status":{"readyNodeNum":2,"unreadyNodeNum":1,"leaderNum":1,"leaderEndpoints":[{"nodeName":"a","address":"10.0.0.1"}],
		"leaderLastElectedTime":"2026-11-22T12:00:00Z","conditions":[{"type":"LeaderReady","status":"True"}]}}`
	if _, err := dyn().Resource(pools).Patch(t.Context(), name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// TestOlderPoolKeepsTheStatus writes the status through v1beta1, which knows no
// leaders, and expects them to be there afterwards.
func TestOlderPoolKeepsTheStatus(t *testing.T) {
	empty(t)
	if err := server.ApplyYAML(t.Context(), "{apiVersion: apps.openyurt.io/v1beta2, kind: NodePool, metadata: {name: x}, spec: {}}"); err != nil {
		t.Fatal(err)
	}
	setPoolStatus(t, "x")
	before, err := get(pools, "x")
	if err != nil {
		t.Fatal(err)
	}
	older := pools
	older.Version = "v1beta1"
	u, err := get(older, "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(u.Object, int64(3), "status", "readyNodeNum"); err != nil {
		t.Fatal(err)
	}
	if _, err := dyn().Resource(older).UpdateStatus(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	after, err := get(pools, "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(before.Object, int64(3), "status", "readyNodeNum"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before.Object["status"], after.Object["status"]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestPoolColumns: what kubectl get np shows, in both versions.
func TestPoolColumns(t *testing.T) {
	empty(t)
	err := server.ApplyYAML(t.Context(), `{apiVersion: apps.openyurt.io/v1beta2, kind: NodePool, metadata: {name: x,
		annotations: {alibabacloud.com/interconnection-mode: private}}, spec: {type: Edge, hostNetwork: true}}`)
	if err != nil {
		t.Fatal(err)
	}
	setPoolStatus(t, "x")
	want := map[string][]any{
		"v1beta2": {`Name "x"`, `Type "Edge"`, "ReadyNodes 2", "NotReadyNodes 1", "LeaderNodes 1 wide", "HostNetwork true wide", `Line "private" wide`, "Age"},
		"v1beta1": {`Name "x"`, `Type "Edge"`, "ReadyNodes 2", "NotReadyNodes 1", "HostNetwork true wide", `Line "private" wide`, "Age"},
	}
	for version, want := range want {
		body, err := client(t).RESTClient().Get().AbsPath("/apis/apps.openyurt.io/"+version+"/nodepools").
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(body, &table); err != nil {
			t.Fatal(err)
		}
		if len(table.Rows) != 1 {
			t.Fatalf("%d rows", len(table.Rows))
		}
		var got []any
		for i, c := range table.ColumnDefinitions {
			text := c.Name
			if c.Name != "Age" {
				cell, err := json.Marshal(table.Rows[0].Cells[i])
				if err != nil {
					t.Fatal(err)
				}
				text += " " + string(cell)
			}
			if c.Priority > 0 {
				text += " wide"
			}
			got = append(got, text)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", version, d)
		}
	}
}
