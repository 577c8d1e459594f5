// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is one of the kinds that the hub keeps.
type Kind struct {
	GroupVersion schema.GroupVersion
	Name         string // "Service"
	Resource     string // "services"
	Namespaced   bool
}

// The kinds of the hub. Of Nodes there is the own one only. Endpoints are big and
// deprecated, so nobody has them who does not ask. Namespaces are here because
// CoreDNS answers nothing before it has listed them.
var (
	Services       = Kind{corev1.SchemeGroupVersion, "Service", "services", true}
	EndpointSlices = Kind{discoveryv1.SchemeGroupVersion, "EndpointSlice", "endpointslices", true}
	Endpoints      = Kind{corev1.SchemeGroupVersion, "Endpoints", "endpoints", true}
	Nodes          = Kind{corev1.SchemeGroupVersion, "Node", "nodes", false}
	Namespaces     = Kind{corev1.SchemeGroupVersion, "Namespace", "namespaces", false}
)

// Kinds returns all kinds of the hub, each after those that its filter needs.
func Kinds() []Kind { return []Kind{Services, EndpointSlices, Endpoints, Nodes, Namespaces} }

// Object is what every kind is. TypeMeta is empty and managedFields are not
// kept.
type Object interface {
	runtime.Object
	metav1.Object
}

// Item is an object as this node sees it.
type Item struct {
	// Object is immutable. Its metadata.resourceVersion is Version.
	Object Object
	// Version is the hub's version of its last visible change.
	Version uint64
}

// EventType is what happened to an object, in the words of the API.
type EventType string

// The types of events.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
)

// Event is one visible change.
type Event struct {
	Type EventType
	// Item is the object afterwards; of one that is deleted, its last state,
	// with the version of the deletion.
	Item Item
	// Was is the object before, nil if it is added: a selector tells entering
	// and leaving by comparing the two.
	Was Object
	// Version is Item.Version. No two events have the same.
	Version uint64
}

// key names an object of a kind.
type key struct{ namespace, name string }

func keyOf(o metav1.Object) key { return key{o.GetNamespace(), o.GetName()} }

func (k key) compare(l key) int {
	return cmp.Or(cmp.Compare(k.namespace, l.namespace), cmp.Compare(k.name, l.name))
}

func (k key) String() string {
	if k.namespace == "" {
		return k.name
	}
	return k.namespace + "/" + k.name
}

// empty returns an object of the kind, to read into.
func (k Kind) empty() Object {
	switch k {
	case Services:
		return &corev1.Service{}
	case EndpointSlices:
		return &discoveryv1.EndpointSlice{}
	case Endpoints:
		return &corev1.Endpoints{} //nolint:staticcheck // old clients read Endpoints
	case Namespaces:
		return &corev1.Namespace{}
	default:
		return &corev1.Node{}
	}
}

// isList returns an error for what is no list of the kind. Client-go takes any
// list that it can decode, and an empty one of Pods for no Services.
func (k Kind) isList(list runtime.Object) error {
	if t := reflect.Indirect(reflect.ValueOf(list)).Type(); t.Name() != k.Name+"List" {
		return fmt.Errorf("list of %s: the answer is a %s", k.Resource, t.Name())
	}
	return nil
}

// at returns o with another resourceVersion. The copy is shallow: what lies
// deeper is immutable and shared.
func at(o Object, version string) Object {
	var out Object
	switch o := o.(type) {
	case *corev1.Service:
		c := *o
		out = &c
	case *discoveryv1.EndpointSlice:
		c := *o
		out = &c
	case *corev1.Endpoints: //nolint:staticcheck // old clients read Endpoints
		c := *o
		out = &c
	case *corev1.Node:
		c := *o
		out = &c
	case *corev1.Namespace:
		c := *o
		out = &c
	default:
		panic("hub: an object of no kind of the hub is stored")
	}
	out.SetResourceVersion(version)
	return out
}

// same reports whether two objects differ in nothing but resourceVersion.
func same(a, b Object) bool { return equality.Semantic.DeepEqual(at(a, ""), at(b, "")) }

func format(version uint64) string { return strconv.FormatUint(version, 10) }
