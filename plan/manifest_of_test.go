// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/plan"
)

func TestManifestOf(t *testing.T) {
	object := map[string]any{
		"kind": "Thing", "apiVersion": "x/v1",
		"metadata": map[string]any{"name": "a", "namespace": "b", "creationTimestamp": nil, "annotations": map[string]any{"k": "v"}},
		"spec": map[string]any{
			"big": uint64(1<<53 + 1), "zero": 0, "no": false, "none": nil, "empty": map[string]any{},
			"list": []any{}, "places": []any{map[string]any{}, "x"},
		},
		"status": map[string]any{"count": 3},
	}
	for name, c := range map[string]struct{ subresource, want string }{
		"the object": {"", `{"apiVersion":"x/v1","kind":"Thing","metadata":{"annotations":{"k":"v"},"name":"a","namespace":"b"},` +
			`"spec":{"big":9007199254740993,"list":[],"no":false,"places":[{},"x"],"zero":0},"status":{"count":3}}`},
		"its status": {"status", `{"apiVersion":"x/v1","kind":"Thing","metadata":{"annotations":{"k":"v"},"name":"a","namespace":"b"},` +
			`"status":{"count":3}}`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := plan.ManifestOf(object, c.subresource)
			if err != nil {
				t.Fatal(err)
			}
			want := plan.Manifest{APIVersion: "x/v1", Kind: "Thing", Namespace: "b", Name: "a", Subresource: c.subresource, JSON: c.want}
			if d := cmp.Diff(want, m); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if _, err := plan.ManifestOf(map[string]any{"kind": "Thing"}, ""); err == nil {
		t.Error("an object without a name was accepted")
	}
}
