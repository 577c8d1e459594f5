// SPDX-License-Identifier: Apache-2.0

// Package hub_test holds the hub's store against a real API server.
package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/topology"
)

var server *apiserver.Server

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) } //nolint:forbidigo // how a TestMain ends

func client(tb testing.TB) *kubernetes.Clientset {
	tb.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// start runs a Store for node a-1, in no pool, until the test ends or stop is
// called.
func start(tb testing.TB, cfg *rest.Config, dir string) (s *hub.Store, stop func()) {
	tb.Helper()
	s = hub.New(hub.Options{Node: "a-1", Config: cfg, Dir: dir, Cluster: "test", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	s.Place(topology.Place{Node: "a-1"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	}
	tb.Cleanup(stop)
	return s, stop
}

func ready(tb testing.TB, s *hub.Store, kinds ...hub.Kind) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	for _, k := range kinds {
		if err := s.Wait(ctx, k); err != nil {
			tb.Fatal(err)
		}
	}
}

func eventually(tb testing.TB, check func() error) {
	tb.Helper()
	end := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			tb.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// shop makes a namespace of its own with a Service, a slice and Endpoints of it,
// and returns its name.
func shop(tb testing.TB) string {
	tb.Helper()
	ctx, c := tb.Context(), client(tb)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"}}
	ns, err := c.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	name := ns.Name
	addService(tb, name, "till")
	on, other := "a-1", "b-1"
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "till-1", Labels: map[string]string{discoveryv1.LabelServiceName: "till"}}}
	slice.AddressType = discoveryv1.AddressTypeIPv4
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.1"}, NodeName: &on}, {Addresses: []string{"10.42.1.1"}, NodeName: &other}}
	old := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "till"}}                                                             //nolint:staticcheck // old clients
	old.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.42.0.1", NodeName: &on}, {IP: "10.42.1.1"}}}} //nolint:staticcheck // old clients
	_, err = c.DiscoveryV1().EndpointSlices(name).Create(ctx, slice, metav1.CreateOptions{})
	_, err2 := c.CoreV1().Endpoints(name).Create(ctx, old, metav1.CreateOptions{})
	if err = errors.Join(err, err2); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { // there is no controller that would empty a namespace
		ctx := context.Background()
		_ = c.CoreV1().Services(name).Delete(ctx, "till", metav1.DeleteOptions{})
		_ = c.DiscoveryV1().EndpointSlices(name).Delete(ctx, "till-1", metav1.DeleteOptions{})
		_ = c.CoreV1().Endpoints(name).Delete(ctx, "till", metav1.DeleteOptions{})
	})
	return name
}

func addService(tb testing.TB, namespace, name string) {
	tb.Helper()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}}
	svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}
	if _, err := client(tb).CoreV1().Services(namespace).Create(tb.Context(), svc, metav1.CreateOptions{}); err != nil {
		tb.Fatal(err)
	}
}

func pin(tb testing.TB, namespace, name, reach string) {
	tb.Helper()
	c := client(tb).CoreV1().Services(namespace)
	svc, err := c.Get(tb.Context(), name, metav1.GetOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	metav1.SetMetaDataAnnotation(&svc.ObjectMeta, "openyurt.io/topologyKeys", reach)
	if _, err = c.Update(tb.Context(), svc, metav1.UpdateOptions{}); err != nil {
		tb.Fatal(err)
	}
}

// find returns an object of a list.
func find(s *hub.Store, k hub.Kind, namespace, name string) (hub.Object, error) {
	items, _, err := s.List(k)
	if err != nil {
		return nil, err
	}
	for _, i := range items {
		if i.Object.GetNamespace() == namespace && i.Object.GetName() == name {
			return i.Object, nil
		}
	}
	return nil, fmt.Errorf("%s %s/%s is not there", k.Resource, namespace, name)
}

// TestKept: what the store has is what the API server has, but for
// managedFields, and it follows. Of nodes it has the own one.
func TestKept(t *testing.T) {
	ctx, c := t.Context(), client(t)
	ns := shop(t)
	for _, n := range []string{"a-1", "b-1"} {
		if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CoreV1().Nodes().Delete(context.Background(), n, metav1.DeleteOptions{}) })
	}
	s, _ := start(t, server.Config, "")
	ready(t, s, hub.Kinds()...)
	if !s.Online() || time.Since(s.LastHeard()) > time.Minute {
		t.Errorf("online %v, heard %s", s.Online(), s.LastHeard())
	}
	svc, err1 := c.CoreV1().Services(ns).Get(ctx, "till", metav1.GetOptions{})
	slice, err2 := c.DiscoveryV1().EndpointSlices(ns).Get(ctx, "till-1", metav1.GetOptions{})
	old, err3 := c.CoreV1().Endpoints(ns).Get(ctx, "till", metav1.GetOptions{})
	node, err4 := c.CoreV1().Nodes().Get(ctx, "a-1", metav1.GetOptions{})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[hub.Kind]hub.Object{hub.Services: svc, hub.EndpointSlices: slice, hub.Endpoints: old, hub.Nodes: node} {
		want.SetManagedFields(nil)
		got, err := s.Get(k, want.GetNamespace(), want.GetName())
		if err != nil || !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("%s: %v (-API server +store)\n%s", k.Name, err, cmp.Diff(want, got))
		}
	}
	if items, _, err := s.List(hub.Nodes); len(items) != 1 || err != nil {
		t.Errorf("%d nodes, %v", len(items), err)
	}
	pin(t, ns, "till", "kubernetes.io/hostname")
	eventually(t, func() error {
		o, err := find(s, hub.EndpointSlices, ns, "till-1")
		if slice, ok := o.(*discoveryv1.EndpointSlice); err == nil && (!ok || len(slice.Endpoints) != 1) {
			return fmt.Errorf("not pinned: %v", o)
		}
		return err
	})
	if err := c.CoreV1().Services(ns).Delete(ctx, "till", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if o, err := s.Get(hub.Services, ns, "till"); o != nil || err != nil {
			return fmt.Errorf("still there: %v, %w", o, err)
		}
		return nil
	})
}

// TestWrittenBack: what is read through the store can be written with its own
// version as the precondition.
func TestWrittenBack(t *testing.T) {
	ns := shop(t)
	pin(t, ns, "till", "kubernetes.io/hostname")
	s, _ := start(t, server.Config, "")
	ready(t, s, hub.Services)
	o, err := s.Get(hub.Services, ns, "till")
	if err != nil {
		t.Fatal(err)
	}
	svc, ok := o.DeepCopyObject().(*corev1.Service)
	if !ok {
		t.Fatalf("%T", o)
	}
	metav1.SetMetaDataAnnotation(&svc.ObjectMeta, "colour", "green")
	c := client(t).CoreV1().Services(ns)
	if _, err := c.Update(t.Context(), svc, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Update(t.Context(), svc, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an old version: %v", err)
	}
}
