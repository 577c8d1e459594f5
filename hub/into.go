// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// Into returns where a reflector puts what it reads of a kind. Run's reflectors
// use it; so does whoever fills a Store by hand. Objects that are put in belong
// to the Store. It is nil for a kind that is not kept.
func (s *Store) Into(k Kind) cache.ReflectorStore {
	if s.shelves[k] == nil {
		return nil
	}
	return s.into(k)
}

func (s *Store) into(k Kind) target { return target{s, s.shelves[k], reflect.TypeOf(k.empty())} }

// target is a cache.ReflectorStore. Add and Update are the same: what is known
// already says which of the two it is.
type target struct {
	s    *Store
	sh   *shelf
	kind reflect.Type
}

func (t target) Add(o any) error    { return t.change(o, t.s.put) }
func (t target) Update(o any) error { return t.change(o, t.s.put) }

func (t target) Delete(o any) error {
	return t.change(o, func(sh *shelf, o Object) { t.s.drop(sh, keyOf(o)) })
}

func (t target) Resync() error { return nil }

// Bookmark is part of cache.ReflectorBookmarkStore.
func (t target) Bookmark(string) error {
	t.alive()
	return nil
}

// alive notes that the API server has said how far it is.
func (t target) alive() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.heard()
}

// Transformer is part of cache.TransformingStore: the reflector uses it while
// it collects a list.
func (t target) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return t.trim(o) }
}

// trim takes away what nobody is shown.
func (t target) trim(o any) (Object, error) {
	obj, ok := o.(Object)
	if !ok || reflect.TypeOf(o) != t.kind {
		return nil, fmt.Errorf("store %T: it is none of %s", o, t.sh.kind.Resource)
	}
	if kind := obj.GetObjectKind().GroupVersionKind().Kind; kind != "" && kind != t.sh.kind.Name {
		return nil, fmt.Errorf("store %s %s: it is none of %s", kind, keyOf(obj), t.sh.kind.Resource)
	}
	obj.SetManagedFields(nil)
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj, nil
}

func (t target) change(o any, how func(*shelf, Object)) error {
	obj, err := t.trim(o)
	if err != nil {
		return err
	}
	t.s.mu.Lock()
	defer t.s.unlock()
	t.heard()
	how(t.sh, obj)
	t.sh.soil()
	return nil
}

// Replace takes over a whole list. Only a complete answer of the API server
// comes here, so an empty one is the truth, too; but one without a version is
// no answer of an API server, whoever sat between.
func (t target) Replace(list []any, version string) error {
	if version == "" {
		return fmt.Errorf("list of %s has no resourceVersion", t.sh.kind.Resource)
	}
	objects := make([]Object, 0, len(list))
	for _, o := range list {
		obj, err := t.trim(o)
		if err != nil {
			return err
		}
		objects = append(objects, obj)
	}
	t.s.mu.Lock()
	defer t.s.unlock()
	t.heard()
	t.s.replace(t.sh, objects)
	t.s.moved = t.s.moved || t.sh.kind == Services // it may be known only now
	if t.sh.stale || !t.sh.known {
		t.sh.stale, t.sh.known = false, true
		close(t.sh.fresh)
	}
	t.sh.soil()
	t.s.settle()
	return nil
}

// heard notes that the API server has said something. Store.mu is held.
func (t target) heard() { t.sh.heard = t.s.line.hear() }

// replace makes a list the truth; what is shown changes where it differs.
func (s *Store) replace(sh *shelf, objects []Object) {
	slices.SortFunc(objects, func(a, b Object) int { return keyOf(a).compare(keyOf(b)) })
	there := make(map[key]bool, len(objects))
	for _, o := range objects {
		there[keyOf(o)] = true
		s.put(sh, o)
	}
	for _, k := range slices.SortedFunc(maps.Keys(sh.objects), key.compare) {
		if !there[k] {
			s.drop(sh, k)
		}
	}
}
