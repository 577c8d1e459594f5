// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
)

// PoolWriter is the field manager of what pools give their nodes.
const PoolWriter = "magpie-pools"

// openyurtWriter did the same before us; its record is read as ours.
const openyurtWriter = "yurt-manager"

// Attributes are what a pool gives its nodes. Their JSON is that of the
// annotation nodepool.openyurt.io/previous-attributes, which is OpenYurt's.
type Attributes struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Taints      []corev1.Taint    `json:"taints,omitempty"`
}

// On returns the attributes as the part of a Node that they are.
func (a Attributes) On(node string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": node, "labels": a.Labels, "annotations": a.Annotations},
		"spec":     map[string]any{"taints": a.Taints},
	}
}

// Given is what a node has of a pool.
type Given struct {
	// Attributes are those that the record names and that are still as it
	// says. What somebody has changed since is the node's own.
	Attributes
	// Own are the node's own labels and annotations under keys of Attributes:
	// what comes back when the pool's go. It has no taints: a pool never
	// replaces one.
	Own Attributes
}

// GivenTo reads from a Node what a pool gave it. An error means that the
// record cannot be read: then nothing counts as given, so that nothing is ever
// taken away that might be the node's own.
func GivenTo(n *corev1.Node) (Given, error) {
	var record, replaced Attributes
	if err := decode(n, api.AnnotationPrevious, &record); err != nil {
		return Given{}, err
	}
	if err := decode(n, api.AnnotationReplaced, &replaced); err != nil {
		return Given{}, err
	}
	claims := claimsOn(n, record)
	var g Given
	g.Labels, g.Own.Labels = still(record.Labels, n.Labels, replaced.Labels, claims.Labels)
	g.Annotations, g.Own.Annotations = still(record.Annotations, n.Annotations, replaced.Annotations, claims.Annotations)
	for _, t := range record.Taints {
		if slices.ContainsFunc(n.Spec.Taints, func(have corev1.Taint) bool { return SameTaint(have, t) }) {
			g.Taints = append(g.Taints, t)
		}
	}
	return g, nil
}

func decode(n *corev1.Node, annotation string, into *Attributes) error {
	text, there := n.Annotations[annotation]
	if !there {
		return nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("decode annotation %s: %w", annotation, err)
	}
	return nil
}

// still returns what of the record is there as it says, and the node's own
// values under those keys: what was replaced, or what somebody else says, too.
func still(record, live, replaced, claimed map[string]string) (given, own map[string]string) {
	given, own = map[string]string{}, map[string]string{}
	for k, v := range record {
		if now, there := live[k]; !there || now != v {
			continue
		}
		given[k] = v
		if _, also := claimed[k]; also { // since the pool's: a value that is replaced loses its claims
			own[k] = v
		} else if was, had := replaced[k]; had {
			own[k] = was
		}
	}
	return given, own
}

// SameTaint compares what a taint says. When it was set is not compared: the
// API server writes that.
func SameTaint(a, b corev1.Taint) bool {
	return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
}

// fieldTree is the part of managedFields that is looked at.
type fieldTree struct {
	Meta struct {
		Labels      map[string]json.RawMessage `json:"f:labels"`
		Annotations map[string]json.RawMessage `json:"f:annotations"`
	} `json:"f:metadata"`
}

// claimsOn returns the labels and annotations of the record that a field
// manager other than the pools' has set, too: by an apply with the same value.
// (Who changes the value takes the field over, and it is no longer as recorded.)
func claimsOn(n *corev1.Node, record Attributes) Attributes {
	out := Attributes{Labels: map[string]string{}, Annotations: map[string]string{}}
	for _, e := range n.ManagedFields {
		if e.Manager == PoolWriter || e.Manager == openyurtWriter || e.Subresource != "" || e.FieldsV1 == nil {
			continue
		}
		var tree fieldTree
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &tree) != nil {
			continue
		}
		for k, v := range record.Labels {
			if _, claimed := tree.Meta.Labels["f:"+k]; claimed {
				out.Labels[k] = v
			}
		}
		for k, v := range record.Annotations {
			if _, claimed := tree.Meta.Annotations["f:"+k]; claimed {
				out.Annotations[k] = v
			}
		}
	}
	return out
}

// Claims returns as much of a Node's managedFields as GivenTo needs, which is
// almost always nothing: with 5,000 nodes the whole would be megabytes.
func Claims(n *corev1.Node) []metav1.ManagedFieldsEntry {
	var record Attributes
	if decode(n, api.AnnotationPrevious, &record) != nil {
		return nil
	}
	claims := claimsOn(n, record)
	if len(claims.Labels)+len(claims.Annotations) == 0 {
		return nil
	}
	tree := fieldTree{}
	tree.Meta.Labels, tree.Meta.Annotations = named(claims.Labels), named(claims.Annotations)
	text, err := json.Marshal(tree)
	if err != nil {
		return nil
	}
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes(text)
	return []metav1.ManagedFieldsEntry{{Manager: "others", FieldsV1: fields}}
}

func named(keys map[string]string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for k := range keys {
		out["f:"+k] = json.RawMessage("{}")
	}
	return out
}
