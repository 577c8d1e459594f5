// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/magpie-edge/magpie/hub"
)

// served is how one kind is selected and written.
type served struct {
	Kind hub.Kind
	// special are the field labels that a selector may name beside the name and
	// the namespace; nil: the kind has no list of its own, and words its refusal
	// of others differently.
	special map[string]func(hub.Object) string
	// blank makes an object with nothing in it.
	blank func() hub.Object
	// clone copies an object, but not what it points to.
	clone func(hub.Object) hub.Object
	// list makes the list of the kind.
	list func([]hub.Item, metav1.ListMeta) runtime.Object
	// columns and cells are the table that kubectl shows.
	columns []metav1.TableColumnDefinition
	cells   func(o hub.Object, age string) []any
}

// kinds are all that are answered from the Store.
var kinds = []served{
	{
		Kind: hub.Services,
		special: map[string]func(hub.Object) string{
			"spec.clusterIP": func(o hub.Object) string { return o.(*corev1.Service).Spec.ClusterIP },
			"spec.type":      func(o hub.Object) string { return string(o.(*corev1.Service).Spec.Type) },
		},
		blank: func() hub.Object { return &corev1.Service{} },
		clone: clone[corev1.Service],
		list: func(items []hub.Item, m metav1.ListMeta) runtime.Object {
			return &corev1.ServiceList{TypeMeta: listMeta(hub.Services), ListMeta: m, Items: gather[corev1.Service](items)}
		},
		columns: serviceColumns, cells: serviceCells,
	},
	{
		Kind:  hub.EndpointSlices,
		blank: func() hub.Object { return &discoveryv1.EndpointSlice{} },
		clone: clone[discoveryv1.EndpointSlice],
		list: func(items []hub.Item, m metav1.ListMeta) runtime.Object {
			return &discoveryv1.EndpointSliceList{
				TypeMeta: listMeta(hub.EndpointSlices), ListMeta: m, Items: gather[discoveryv1.EndpointSlice](items),
			}
		},
		columns: sliceColumns, cells: sliceCells,
	},
	{
		Kind:  hub.Endpoints,
		blank: func() hub.Object { return &corev1.Endpoints{} }, //nolint:staticcheck // old clients read Endpoints
		clone: clone[corev1.Endpoints],                          //nolint:staticcheck // as above
		list: func(items []hub.Item, m metav1.ListMeta) runtime.Object {
			return &corev1.EndpointsList{
				TypeMeta: listMeta(hub.Endpoints), ListMeta: m, Items: gather[corev1.Endpoints](items), //nolint:staticcheck // as above
			}
		},
		columns: endpointsColumns, cells: endpointsCells,
	},
	{
		Kind: hub.Nodes,
		special: map[string]func(hub.Object) string{
			"spec.unschedulable": func(o hub.Object) string { return fmt.Sprint(o.(*corev1.Node).Spec.Unschedulable) },
		},
		blank: func() hub.Object { return &corev1.Node{} },
		clone: clone[corev1.Node],
		list: func(items []hub.Item, m metav1.ListMeta) runtime.Object {
			return &corev1.NodeList{TypeMeta: listMeta(hub.Nodes), ListMeta: m, Items: gather[corev1.Node](items)}
		},
		columns: nodeColumns, cells: nodeCells,
	},
	{
		Kind: hub.Namespaces,
		special: map[string]func(hub.Object) string{
			"status.phase": func(o hub.Object) string { return string(o.(*corev1.Namespace).Status.Phase) },
		},
		blank: func() hub.Object { return &corev1.Namespace{} },
		clone: clone[corev1.Namespace],
		list: func(items []hub.Item, m metav1.ListMeta) runtime.Object {
			return &corev1.NamespaceList{TypeMeta: listMeta(hub.Namespaces), ListMeta: m, Items: gather[corev1.Namespace](items)}
		},
		columns: namespaceColumns, cells: namespaceCells,
	},
}

// pointer is *T for the struct T of an API type.
type pointer[T any] interface {
	*T
	hub.Object
}

func clone[T any, P pointer[T]](o hub.Object) hub.Object {
	c := *o.(P)
	return P(&c)
}

// gather returns the structs of the items; never nil, which JSON would call null.
func gather[T any, P pointer[T]](items []hub.Item) []T {
	out := make([]T, len(items))
	for i := range items {
		out[i] = *items[i].Object.(P)
	}
	return out
}

func listMeta(k hub.Kind) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: k.Name + "List", APIVersion: k.GroupVersion.String()}
}

func (k served) gvk() schema.GroupVersionKind { return k.Kind.GroupVersion.WithKind(k.Kind.Name) }

// dress returns the object as it is sent by itself: with its kind, and with
// that version if there is one. The object is shared, so that is a copy.
func (k served) dress(o hub.Object, version string) hub.Object {
	o = k.clone(o)
	o.GetObjectKind().SetGroupVersionKind(k.gvk())
	if version != "" {
		o.SetResourceVersion(version)
	}
	return o
}

// selectableField returns what an API server says to a field label.
func (k served) selectableField(label string) error {
	known := label == "metadata.name" || k.Kind.Namespaced && label == "metadata.namespace"
	switch {
	case known || k.special[label] != nil:
		return nil
	case k.special != nil:
		return fmt.Errorf("field label not supported: %s", label)
	default:
		return fmt.Errorf("%q is not a known field selector: only %q, %q", label, "metadata.name", "metadata.namespace")
	}
}

// filter is which objects of a kind a caller wants.
type filter struct {
	served
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

// all reports whether it is everything in the namespace.
func (f filter) all() bool { return f.labels.Empty() && f.fields.Empty() }

// wants reports whether it is one of them; nil is not.
func (f filter) wants(o hub.Object) bool {
	if o == nil || f.namespace != "" && o.GetNamespace() != f.namespace {
		return false
	}
	if !f.labels.Empty() && !f.labels.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	return f.fields.Empty() || f.fields.Matches(fieldsOf{f.served, o})
}

// pick returns those of the items that it wants, at most limit if that is not
// zero, and whether there are more.
func (f filter) pick(items []hub.Item, limit int) (out []hub.Item, more bool) {
	if f.all() && f.namespace == "" {
		if limit > 0 && len(items) > limit {
			return items[:limit], true
		}
		return items, false
	}
	for i, item := range items {
		if !f.wants(item.Object) {
			continue
		}
		if limit > 0 && len(out) == limit {
			return out, slices.ContainsFunc(items[i:], func(i hub.Item) bool { return f.wants(i.Object) })
		}
		out = append(out, item)
	}
	return out, false
}

// see returns what a watch that wants only these is told of an event: an object
// that begins to be wanted is added, one that ceases to be is deleted. Nil is
// nothing.
func (f filter) see(e hub.Event) (hub.EventType, hub.Object) {
	was, is := f.wants(e.Was), e.Type != hub.Deleted && f.wants(e.Item.Object)
	switch {
	case e.Type == hub.Deleted && (was || f.wants(e.Item.Object)):
		return hub.Deleted, e.Item.Object
	case is && was:
		return hub.Modified, e.Item.Object
	case is:
		return hub.Added, e.Item.Object
	case was:
		return hub.Deleted, e.Was
	default:
		return "", nil
	}
}

// fieldsOf is an object to a field selector.
type fieldsOf struct {
	served
	o hub.Object
}

// Has is part of fields.Fields.
func (f fieldsOf) Has(label string) bool { return f.selectableField(label) == nil }

// Get is part of fields.Fields.
func (f fieldsOf) Get(label string) string {
	switch get := f.special[label]; {
	case get != nil:
		return get(f.o)
	case label == "metadata.name":
		return f.o.GetName()
	default:
		return f.o.GetNamespace()
	}
}
