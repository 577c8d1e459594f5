// SPDX-License-Identifier: Apache-2.0

package hub

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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

// The kinds of the hub. Services and EndpointSlices are kept from the start;
// Endpoints, which are big and deprecated, and Nodes from when they are first
// asked for. Of Nodes there is the own one only.
var (
	Services       = Kind{corev1.SchemeGroupVersion, "Service", "services", true}
	EndpointSlices = Kind{discoveryv1.SchemeGroupVersion, "EndpointSlice", "endpointslices", true}
	Endpoints      = Kind{corev1.SchemeGroupVersion, "Endpoints", "endpoints", true}
	Nodes          = Kind{corev1.SchemeGroupVersion, "Node", "nodes", false}
)

// Kinds returns all kinds of the hub, each after those that its filter needs.
func Kinds() []Kind { return []Kind{Services, EndpointSlices, Endpoints, Nodes} }

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
