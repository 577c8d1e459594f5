// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/topology"
)

const (
	byPool = "openyurt.io/nodepool"
	byNode = "kubernetes.io/hostname"
)

// options are those of node a-1, without a disk or an API server.
func options() hub.Options {
	return hub.Options{Node: "a-1", Log: slog.New(slog.DiscardHandler), Now: time.Now, Cluster: "lab"}
}

// pools says where nodes are; every test may move them.
type pools map[string]string

func shops() pools { return pools{"a-1": "shop-a", "a-2": "shop-a", "b-1": "shop-b", "b-2": "shop-b"} }

// with returns the pools with one node moved.
func (p pools) with(node, pool string) pools {
	out := pools{node: pool}
	for n, q := range p {
		if n != node {
			out[n] = q
		}
	}
	return out
}

func (p pools) place(node string) topology.Place {
	return topology.Place{Node: node, Pool: p[node], PoolOf: func(n string) string { return p[n] }}
}

// service is one with a NodePort; the annotations are pairs of key and value.
func service(name string, annotations ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("s-" + name), ResourceVersion: "1"}}
	s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.0.7", Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}}}
	for i := 0; i < len(annotations); i += 2 {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, annotations[i], annotations[i+1])
	}
	return s
}

func pinned(name, reach string) *corev1.Service {
	return service(name, "openyurt.io/topologyKeys", reach)
}

// slice is one of a Service, with an endpoint on each node.
func slice(name, of string, nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("e-" + name), ResourceVersion: "1"}}
	if of != "" {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: of}
	}
	s.AddressType = discoveryv1.AddressTypeIPv4
	for i, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.0.%d", i+1)}, NodeName: &n})
	}
	return s
}

// endpoints are what a slice was before there were slices.
func endpoints(name string, nodes ...string) *corev1.Endpoints { //nolint:staticcheck // old clients
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("o-" + name), ResourceVersion: "1"}} //nolint:staticcheck // old clients
	var sub corev1.EndpointSubset                                                                                                           //nolint:staticcheck // old clients
	for i, n := range nodes {
		sub.Addresses = append(sub.Addresses, corev1.EndpointAddress{IP: fmt.Sprintf("10.42.0.%d", i+1), NodeName: &n})
	}
	e.Subsets = append(e.Subsets, sub)
	return e
}

// replace is a relist.
func replace(tb testing.TB, s *hub.Store, k hub.Kind, objects ...hub.Object) {
	tb.Helper()
	var list []any
	for _, o := range objects {
		list = append(list, o)
	}
	if err := s.Into(k).Replace(list, "1"); err != nil {
		tb.Fatal(err)
	}
}

// put is an event of a watch at the API server.
func put(tb testing.TB, s *hub.Store, k hub.Kind, objects ...hub.Object) {
	tb.Helper()
	for _, o := range objects {
		if err := s.Into(k).Update(o); err != nil {
			tb.Fatal(err)
		}
	}
}

func drop(tb testing.TB, s *hub.Store, k hub.Kind, o hub.Object) {
	tb.Helper()
	if err := s.Into(k).Delete(o); err != nil {
		tb.Fatal(err)
	}
}

// describe is one object as a line: what filters can change of it.
func describe(o hub.Object) string {
	var see []string
	node := func(n *string) { see = append(see, *n) }
	switch o := o.(type) {
	case *corev1.Service:
		for _, p := range o.Spec.Ports {
			see = append(see, fmt.Sprint(p.NodePort))
		}
	case *discoveryv1.EndpointSlice:
		for _, e := range o.Endpoints {
			node(e.NodeName)
		}
	case *corev1.Endpoints: //nolint:staticcheck // old clients
		for _, sub := range o.Subsets {
			for _, a := range sub.Addresses {
				node(a.NodeName)
			}
		}
	}
	return strings.TrimSpace(o.GetName() + " " + strings.Join(see, ","))
}

// seen is the list of a kind, a line each.
func seen(tb testing.TB, s *hub.Store, k hub.Kind) []string {
	tb.Helper()
	items, _, err := s.List(k)
	if err != nil {
		tb.Fatal(err)
	}
	out := []string{}
	for _, i := range items {
		out = append(out, describe(i.Object))
	}
	return out
}

// follow begins a watch now.
func follow(tb testing.TB, s *hub.Store, k hub.Kind) *hub.Watch {
	tb.Helper()
	_, _, w, err := s.Follow(k)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(w.Close)
	return w
}

// drain reads all there is, a line each. It runs in a bubble of synctest, where
// a wait that nobody ends takes no time.
func drain(tb testing.TB, w *hub.Watch) []string {
	tb.Helper()
	out := []string{}
	for {
		ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
		events, err := w.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range events {
			out = append(out, string(e.Type)+" "+describe(e.Item.Object))
		}
	}
}

// large is a cluster of 5,000 Services with 50,000 endpoints on 1,000 nodes in
// 50 pools. All Services are pinned to the pool, the dearest case. Objects are
// decoded one by one, as they come from an API server.
func large(tb testing.TB) (services, slicesOf []hub.Object, where pools) {
	tb.Helper()
	where = pools{}
	for n := range 1000 {
		where[fmt.Sprintf("node-%04d", n)] = fmt.Sprintf("pool-%02d", n%50)
	}
	for i := range 5000 {
		name := fmt.Sprintf("service-%04d", i)
		svc := pinned(name, byPool)
		svc.Labels = map[string]string{"app": name, "app.kubernetes.io/managed-by": "Helm"}
		svc.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = strings.Repeat("x", 400)
		svc.Spec.Selector = map[string]string{"app": name}
		services = append(services, decoded(tb, svc, &corev1.Service{}))
		var on []string
		for e := range 10 {
			on = append(on, fmt.Sprintf("node-%04d", (i*10+e*101)%1000))
		}
		s := slice(name+"-abcde", name, on...)
		for e := range s.Endpoints {
			describeEndpoint(&s.Endpoints[e], i, e)
		}
		slicesOf = append(slicesOf, decoded(tb, s, &discoveryv1.EndpointSlice{}))
	}
	return services, slicesOf, where
}

// describeEndpoint fills in what a controller says of an endpoint.
func describeEndpoint(e *discoveryv1.Endpoint, service, number int) {
	yes, no, zone := true, false, "cn-hangzhou-b"
	e.Addresses = []string{fmt.Sprintf("10.42.%d.%d", service%250, number)}
	e.Conditions = discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no}
	e.Zone = &zone
	name := fmt.Sprintf("service-%04d-6d4b75cb6d-%05d", service, number)
	e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: name, UID: "5b1ad4d5-0c7e-4f0d-9c5b-5f6b2a1f0e11"}
}

type protobuf interface {
	hub.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

func decoded(tb testing.TB, from, into protobuf) hub.Object {
	tb.Helper()
	b, err := from.Marshal()
	if err == nil {
		err = into.Unmarshal(b)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return into
}
