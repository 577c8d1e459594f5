// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/plan"
)

// Part is one kind of object, or its status.
type Part struct {
	Kind        string // "DomainSlice"
	Subresource string // "" or "status"
}

// Scope says what one loop owns.
type Scope struct {
	// Manager is the field manager; one for each loop.
	Manager string
	Parts   []Part
	// Own says of an object in the API whether the loop may touch it; nil: each.
	Own func(metav1.Object) bool
	// Yield leaves a field to whoever set it since we did: Apply then fails for
	// that object. Otherwise the field is taken back.
	Yield bool
}

// writeTimeout is for one request.
const writeTimeout = 10 * time.Second

// world keeps the parts of the API that a Scope names equal to manifests.
type world struct {
	client dynamic.Interface
	stores *stores
	scope  Scope
}

// Observe returns, from the stores, every object's fields that the loop has
// applied.
func (w *world) Observe(context.Context) ([]plan.Manifest, error) {
	if err := w.stores.ready(); err != nil {
		return nil, err
	}
	var out []plan.Manifest
	for _, p := range w.scope.Parts {
		st := w.stores.byKind[p.Kind]
		if st == nil {
			return nil, fmt.Errorf("kind %s is not watched", p.Kind)
		}
		for _, o := range all[object](w.stores, st.kind) {
			if w.scope.Own != nil && !w.scope.Own(o) {
				continue
			}
			m, ok, err := owned(o, st.kind, w.scope.Manager, p.Subresource)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// Apply writes what differs, in the order of want, then removes what want has
// no more. It goes on past failures and returns when the stores have seen what
// it wrote.
func (w *world) Apply(ctx context.Context, have, want []plan.Manifest) (int, error) {
	is := make(map[plan.ManifestKey]plan.Manifest, len(have))
	for _, m := range have {
		is[m.Key()] = m
	}
	var errs []error
	var wrote []written
	wanted := make(map[plan.ManifestKey]bool, len(want))
	for _, m := range want {
		wanted[m.Key()] = true
		if old, there := is[m.Key()]; there && same(old.JSON, m.JSON) {
			continue
		}
		version, err := w.write(ctx, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("apply %s: %w", m, err))
			continue
		}
		wrote = append(wrote, written{m.Kind, m.Namespace, m.Name, version})
	}
	removed := 0
	for _, m := range have {
		if wanted[m.Key()] {
			continue
		}
		done, err := w.remove(ctx, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", m, err))
		}
		if done {
			removed++
		}
	}
	w.stores.await(ctx, wrote...)
	return len(wrote) + removed, errors.Join(errs...)
}

// same compares JSON by meaning; equal strings are the usual case.
func same(a, b string) bool {
	if a == b {
		return true
	}
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	c, err1 := json.Marshal(x)
	d, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && string(c) == string(d)
}

func (w *world) write(ctx context.Context, m plan.Manifest) (version string, err error) {
	st := w.stores.byKind[m.Kind]
	if st == nil || st.kind.version.String() != m.APIVersion {
		return "", fmt.Errorf("%s %s is not watched", m.APIVersion, m.Kind)
	}
	var u unstructured.Unstructured
	if err := json.Unmarshal([]byte(m.JSON), &u.Object); err != nil {
		return "", fmt.Errorf("decode: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	opts := metav1.ApplyOptions{FieldManager: w.scope.Manager, Force: !w.scope.Yield}
	var subresources []string
	if m.Subresource != "" {
		subresources = []string{m.Subresource}
	}
	out, err := w.resource(st.kind, m.Namespace).Apply(ctx, m.Name, &u, opts, subresources...)
	if err != nil {
		return "", err
	}
	return out.GetResourceVersion(), nil
}

// remove deletes an object that is ours, and gives up our fields in any other.
func (w *world) remove(ctx context.Context, m plan.Manifest) (done bool, err error) {
	o := w.stores.get(m.Kind, m.Namespace, m.Name)
	if o == nil {
		return false, nil
	}
	k := w.stores.byKind[m.Kind].kind
	mine := k.version.Group == api.GroupMagpie || o.GetLabels()[api.LabelManagedBy] == api.ManagedBy
	if m.Subresource != "" || !mine {
		m.JSON, err = identify(map[string]any{}, m)
		if err == nil {
			_, err = w.write(ctx, m)
		}
		return err == nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	uid, version := o.GetUID(), o.GetResourceVersion()
	err = w.resource(k, m.Namespace).Delete(ctx, m.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (w *world) resource(k kind, namespace string) dynamic.ResourceInterface {
	if namespace != "" {
		return w.client.Resource(k.gvr()).Namespace(namespace)
	}
	return w.client.Resource(k.gvr())
}
