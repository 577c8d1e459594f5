// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// Members returns the world of what pools give their nodes.
//
// It is not written by server-side apply like everything else: taints are one
// list with one owner to it, and an apply would create a Node that has just
// been deleted. One patch writes values and record together, and only if the
// Node is still the one that was looked at (ADR 16).
func (m *Manager) Members() reconcile.World[[]plan.Manifest] { return &members{m} }

type members struct{ *Manager }

// records are the annotations that say what was given.
var records = []string{api.AnnotationPrevious, api.AnnotationPoolRecord}

// Observe returns, of each node that has a record, what it has of a pool.
func (w *members) Observe(context.Context) ([]plan.Manifest, error) {
	if err := w.stores.ready(); err != nil {
		return nil, err
	}
	var out []plan.Manifest
	for _, n := range all[*corev1.Node](w.stores, nodeKind) {
		kept := map[string]string{}
		for _, k := range records {
			if text, there := n.Annotations[k]; there {
				kept[k] = text
			}
		}
		if len(kept) == 0 {
			continue
		}
		record, _ := fleet.GivenTo(n) // unreadable: nothing was given, and the record is written anew
		maps.Copy(kept, record.Given.Annotations)
		record.Given.Annotations = kept
		one, err := plan.ManifestOf(record.Given.On(n.Name), "")
		if err != nil {
			return nil, fmt.Errorf("observe node %s: %w", n.Name, err)
		}
		out = append(out, one)
	}
	return out, nil
}

// Apply patches each node that differs. It goes on past failures. A node that
// has changed since it was read, as one that joins does many times a second, is
// not a failure but reconcile.ErrNotReady: the stores are behind.
func (w *members) Apply(ctx context.Context, have, want []plan.Manifest) (int, error) {
	is := make(map[string]string, len(have))
	for _, m := range have {
		is[m.Name] = m.JSON
	}
	var errs []error
	var wrote []written
	behind := false
	write := func(name, text string) {
		version, err := w.patch(ctx, name, text)
		if apierrors.IsConflict(err) {
			behind = true
		} else if err != nil {
			errs = append(errs, fmt.Errorf("patch node %s: %w", name, err))
		}
		if version != "" {
			wrote = append(wrote, written{nodeKind.name, "", name, version})
		}
	}
	for _, m := range want {
		if old, there := is[m.Name]; !there || !same(old, m.JSON) {
			write(m.Name, m.JSON)
		}
		delete(is, m.Name)
	}
	for _, m := range have {
		if _, left := is[m.Name]; left {
			write(m.Name, "{}")
		}
	}
	w.stores.await(ctx, wrote...)
	if behind && len(errs) == 0 {
		return len(wrote), fmt.Errorf("a node has changed since: %w", reconcile.ErrNotReady)
	}
	return len(wrote), errors.Join(errs...)
}

// patch brings one node to what text says of it; version is "" if there is
// nothing to write.
func (w *members) patch(ctx context.Context, name, text string) (version string, err error) {
	n, there := w.stores.get(nodeKind.name, "", name).(*corev1.Node)
	if !there {
		return "", nil
	}
	want := &corev1.Node{}
	if err := json.Unmarshal([]byte(text), want); err != nil {
		return "", fmt.Errorf("decode: %w", err)
	}
	body := change(n, want)
	if body == nil {
		return "", nil
	}
	patch, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	out, err := w.client.Resource(nodeKind.gvr()).Patch(ctx, name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: fleet.PoolWriter})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return out.GetResourceVersion(), nil
}

// change is the JSON merge patch from the node as it is; nil for none. It holds
// only as long as nobody writes the node, status included.
func change(n, want *corev1.Node) map[string]any {
	record, _ := fleet.GivenTo(n)
	labels := values(n.Labels, record.Given.Labels, record.Own.Labels, want.Labels)
	annotations := values(n.Annotations, record.Given.Annotations, record.Own.Annotations, want.Annotations)
	for _, k := range records {
		_, stays := want.Annotations[k]
		if _, there := n.Annotations[k]; there && !stays {
			annotations[k] = nil
		}
	}
	taints, taintsChange := taintsOf(n.Spec.Taints, record.Given.Taints, want.Spec.Taints)
	if len(labels)+len(annotations) == 0 && !taintsChange {
		return nil
	}
	body := map[string]any{"metadata": map[string]any{
		"resourceVersion": n.ResourceVersion, "labels": labels, "annotations": annotations,
	}}
	if taintsChange {
		body["spec"] = map[string]any{"taints": taints}
	}
	return body
}

// values returns the keys that change: to what is wanted, or from what was
// given and no longer is to the node's own, which is nil if it has none.
func values(live, given, own, want map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range given {
		if _, stays := want[k]; stays {
			continue
		}
		if was, had := own[k]; !had {
			out[k] = nil
		} else if was != v {
			out[k] = was
		}
	}
	for k, v := range want {
		if now, there := live[k]; !there || now != v {
			out[k] = v
		}
	}
	return out
}

// taintsOf returns all taints of the node with those wanted and without those
// given before; taints of others stay where they are.
func taintsOf(live, given, want []corev1.Taint) (out []corev1.Taint, changed bool) {
	has := func(list []corev1.Taint, t corev1.Taint) bool {
		return slices.ContainsFunc(list, func(x corev1.Taint) bool { return fleet.SameTaint(x, t) })
	}
	out = []corev1.Taint{}
	for _, t := range live {
		if has(given, t) && !has(want, t) {
			changed = true
			continue
		}
		out = append(out, t)
	}
	for _, t := range want {
		if !has(out, t) {
			out, changed = append(out, t), true
		}
	}
	return out, changed
}
