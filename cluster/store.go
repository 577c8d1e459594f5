// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/magpie-edge/magpie/internal/reconcile"
)

// object is what every kind of ours is.
type object interface {
	runtime.Object
	metav1.Object
}

// store is a copy of the objects of one kind, kept by a watch.
type store struct {
	kind       kind
	objects    cache.Store
	controller cache.Controller
}

// stores is all that one process watches.
type stores struct {
	byKind map[string]*store
	bell
}

func newStores() *stores { return &stores{byKind: map[string]*store{}} }

// watch adds one kind. trim, which may be nil, cuts an object down before it
// is stored.
func (s *stores) watch(cfg *rest.Config, k kind, namespace string, selector fields.Selector, trim cache.TransformFunc) error {
	lw, err := lister(cfg, k, namespace, selector)
	if err != nil {
		return err
	}
	objects, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: lw,
		ObjectType:    k.empty(),
		Transform:     trim,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { s.ring() },
			DeleteFunc: func(any) { s.ring() },
			UpdateFunc: func(was, is any) {
				if changed(was, is) {
					s.ring()
				}
			},
		},
	})
	s.byKind[k.name] = &store{kind: k, objects: objects, controller: controller}
	return nil
}

// run keeps the stores until ctx ends.
func (s *stores) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, st := range s.byKind {
		wg.Go(func() { st.controller.RunWithContext(ctx) })
		wg.Go(func() { // readers that found the stores empty must look again
			if cache.WaitForCacheSync(ctx.Done(), st.controller.HasSynced) {
				s.ring()
			}
		})
	}
	wg.Wait()
}

// ready returns reconcile.ErrNotReady until every store, or every one of those
// kinds, has been filled once.
func (s *stores) ready(only ...kind) error {
	for name, st := range s.byKind {
		asked := len(only) == 0 || slices.ContainsFunc(only, func(k kind) bool { return k.name == name })
		if asked && !st.controller.HasSynced() {
			return reconcile.ErrNotReady
		}
	}
	return nil
}

// get returns the stored object, or nil.
func (s *stores) get(k, namespace, name string) object {
	st := s.byKind[k]
	if st == nil {
		return nil
	}
	if namespace != "" {
		name = namespace + "/" + name
	}
	o, ok, err := st.objects.GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	out, _ := o.(object)
	return out
}

// all returns the objects of one kind, sorted by namespace and name.
func all[T object](s *stores, k kind) []T {
	st := s.byKind[k.name]
	if st == nil {
		return nil
	}
	var out []T
	for _, o := range st.objects.List() {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// changed reports whether anything differs that a planner may look at: a
// node's heartbeat, for one, does not.
func changed(was, is any) bool {
	a, ok1 := was.(object)
	b, ok2 := is.(object)
	return !ok1 || !ok2 || !equality.Semantic.DeepEqual(bare(a), bare(b))
}

func bare(o object) runtime.Object {
	c, _ := o.DeepCopyObject().(object)
	c.SetResourceVersion("")
	c.SetManagedFields(nil)
	c.SetGeneration(0)
	if n, ok := c.(*corev1.Node); ok {
		for i := range n.Status.Conditions {
			n.Status.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return c
}
