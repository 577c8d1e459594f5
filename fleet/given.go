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

// openyurtWriter did the same before us, or does beside us.
const openyurtWriter = "yurt-manager"

// Attributes are what a pool gives its nodes. Their JSON is that of OpenYurt's
// annotation nodepool.openyurt.io/previous-attributes.
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

// PoolRecord is the annotation net.magpie.dev/pool-record.
type PoolRecord struct {
	// Given is what the pool gave.
	Given Attributes `json:"given"`
	// Own are the node's own labels and annotations under keys of Given: what
	// comes back when the pool's go. It has no taints: a pool never replaces one.
	Own Attributes `json:"own,omitzero"`
}

// GivenTo reads from a Node what of its record still holds: what somebody has
// changed since is the node's own. An error means that the record cannot be
// read: then nothing counts as given, so that nothing is ever taken away that
// might be the node's own.
//
// Where only OpenYurt's manager has written, its annotation is the record. And
// where it works beside us, a value that it was the first to renew is the pool's.
func GivenTo(n *corev1.Node) (PoolRecord, error) {
	record, theirs, err := recordOf(n)
	if err != nil {
		return PoolRecord{}, err
	}
	claims := claimsOn(n, record.Given)
	var r PoolRecord
	r.Given.Labels, r.Own.Labels = still(n.Labels,
		[]map[string]string{record.Given.Labels, theirs.Labels}, record.Own.Labels, claims.Labels)
	r.Given.Annotations, r.Own.Annotations = still(n.Annotations,
		[]map[string]string{record.Given.Annotations, theirs.Annotations}, record.Own.Annotations, claims.Annotations)
	for _, t := range record.Given.Taints {
		if slices.ContainsFunc(n.Spec.Taints, func(have corev1.Taint) bool { return SameTaint(have, t) }) {
			r.Given.Taints = append(r.Given.Taints, t)
		}
	}
	return r, nil
}

// recordOf decodes both annotations. Where ours is, OpenYurt's only helps.
func recordOf(n *corev1.Node) (ours PoolRecord, theirs Attributes, err error) {
	bad := decode(n, api.AnnotationPrevious, &theirs)
	if _, there := n.Annotations[api.AnnotationPoolRecord]; !there {
		return PoolRecord{Given: theirs}, theirs, bad
	}
	if bad != nil {
		theirs = Attributes{}
	}
	err = decode(n, api.AnnotationPoolRecord, &ours)
	return ours, theirs, err
}

func decode(n *corev1.Node, annotation string, into any) error {
	text, there := n.Annotations[annotation]
	if !there {
		return nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("decode annotation %s: %w", annotation, err)
	}
	return nil
}

// still returns what of the first record is there with a value of any of them,
// and the node's own values under those keys: what was replaced, or what
// somebody else says, too.
func still(live map[string]string, records []map[string]string, replaced, claimed map[string]string) (given, own map[string]string) {
	given, own = map[string]string{}, map[string]string{}
	for k := range records[0] {
		now, there := live[k]
		says := func(r map[string]string) bool { v, has := r[k]; return has && v == now }
		if !there || !slices.ContainsFunc(records, says) {
			continue
		}
		given[k] = now
		if _, also := claimed[k]; also { // since the pool's: a value that is replaced loses its claims
			own[k] = now
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
	record, _, err := recordOf(n)
	if err != nil {
		return nil
	}
	claims := claimsOn(n, record.Given)
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
