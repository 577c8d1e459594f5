// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ManifestOf makes the Manifest of an object: anything that encodes to JSON
// with apiVersion, kind and metadata.name. Nulls and empty objects are left
// out, because in server-side apply a field that is there is a field we own;
// empty lists stay, they say "none". With a subresource only identity, labels,
// annotations and status are kept, as the API server would do.
func ManifestOf(object any, subresource string) (Manifest, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return Manifest{}, fmt.Errorf("encode manifest: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // a float64 would spoil large integers
	var body map[string]any
	if err := dec.Decode(&body); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w", err)
	}
	body, _ = prune(body).(map[string]any)
	meta, _ := body["metadata"].(map[string]any)
	m := Manifest{Subresource: subresource}
	m.APIVersion, _ = body["apiVersion"].(string)
	m.Kind, _ = body["kind"].(string)
	m.Name, _ = meta["name"].(string)
	m.Namespace, _ = meta["namespace"].(string)
	if m.APIVersion == "" || m.Kind == "" || m.Name == "" {
		return Manifest{}, fmt.Errorf("manifest of %T has no apiVersion, kind or metadata.name", object)
	}
	body = trim(body, meta, m)
	if text, err = json.Marshal(body); err != nil { // map keys come out sorted
		return Manifest{}, fmt.Errorf("encode manifest: %w", err)
	}
	m.JSON = string(text)
	return m, nil
}

// trim keeps the part of the object that the manifest's door would write.
func trim(body, meta map[string]any, m Manifest) map[string]any {
	if m.Subresource == "" {
		return body
	}
	kept := map[string]any{"name": m.Name}
	if m.Namespace != "" {
		kept["namespace"] = m.Namespace
	}
	// Node annotations and labels can be written by way of nodes/status.
	for _, k := range []string{"annotations", "labels"} {
		if v, ok := meta[k]; ok {
			kept[k] = v
		}
	}
	out := map[string]any{"apiVersion": m.APIVersion, "kind": m.Kind, "metadata": kept}
	if s, ok := body["status"]; ok {
		out["status"] = s
	}
	return out
}

// prune removes nulls and objects that are empty or become so.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x = prune(x); x == nil {
				delete(v, k)
			} else {
				v[k] = x
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		for i, x := range v {
			if x = prune(x); x == nil {
				x = map[string]any{} // an element keeps its place
			}
			v[i] = x
		}
		return v
	}
	return v
}
