// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/magpie-edge/magpie/plan"
)

// owned returns the fields of an object that a field manager has applied, with
// the values they have now; ok is false if it has applied none.
//
// The API server keeps that record in metadata.managedFields as a tree: "f:x"
// is field x, `k:{"type":"Ready"}` is the element of a list with that key,
// "v:1" an element of a set, "." the thing itself; a branch that ends owns all
// that is below it.
// Source: sigs.k8s.io/structured-merge-diff/v6/fieldpath, serialize-pe.go.
func owned(o object, k kind, manager, subresource string) (m plan.Manifest, ok bool, err error) {
	m = plan.Manifest{
		APIVersion: k.version.String(), Kind: k.name,
		Namespace: o.GetNamespace(), Name: o.GetName(), Subresource: subresource,
	}
	var tree map[string]any
	for _, e := range o.GetManagedFields() {
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply &&
			e.Subresource == subresource && e.FieldsV1 != nil {
			if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &tree); err != nil {
				return m, false, fmt.Errorf("read managed fields of %s: %w", m, err)
			}
		}
	}
	if tree == nil {
		return m, false, nil
	}
	live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return m, false, fmt.Errorf("convert %s: %w", m, err)
	}
	body, _ := cut(tree, live).(map[string]any)
	if body == nil {
		body = map[string]any{}
	}
	m.JSON, err = identify(body, m)
	return m, true, err
}

// identify adds who the object is, which no field manager owns.
func identify(body map[string]any, m plan.Manifest) (string, error) {
	meta, _ := body["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	meta["name"] = m.Name
	if m.Namespace != "" {
		meta["namespace"] = m.Namespace
	}
	body["metadata"] = meta
	body["apiVersion"], body["kind"] = m.APIVersion, m.Kind
	b, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", m, err)
	}
	return string(b), nil
}

// cut returns the part of live that the tree names; nil if nothing of it is
// there.
func cut(tree map[string]any, live any) any {
	if !branches(tree) {
		return live
	}
	switch live := live.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, below := range tree {
			field, is := strings.CutPrefix(name, "f:")
			value, there := live[field]
			if !is || !there {
				continue
			}
			sub, _ := below.(map[string]any)
			out[field] = cut(sub, value)
		}
		return out
	case []any:
		return cutList(tree, live)
	}
	return live
}

// cutList keeps the elements the tree names, in the order they have.
func cutList(tree map[string]any, live []any) []any {
	out := []any{}
	for _, element := range live {
		for name, below := range tree {
			if !names(name, element) {
				continue
			}
			sub, _ := below.(map[string]any)
			out = append(out, cut(sub, element))
			break
		}
	}
	return out
}

// names reports whether a path element of the tree means this list element.
func names(path string, element any) bool {
	if value, is := strings.CutPrefix(path, "v:"); is {
		b, err := json.Marshal(element)
		return err == nil && string(b) == value
	}
	text, is := strings.CutPrefix(path, "k:")
	if !is {
		return false
	}
	var key map[string]any
	m, isMap := element.(map[string]any)
	if err := json.Unmarshal([]byte(text), &key); err != nil || !isMap {
		return false
	}
	for field, value := range key {
		if fmt.Sprint(m[field]) != fmt.Sprint(value) {
			return false
		}
	}
	return true
}

// branches reports whether anything but "." is in the tree.
func branches(tree map[string]any) bool {
	for name := range tree {
		if name != "." {
			return true
		}
	}
	return false
}
