// SPDX-License-Identifier: Apache-2.0

package topology_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/topology"
)

// view is two shops of one pool each, with a node beside them that is in none.
func view() fleet.View {
	return fleet.View{Domains: []fleet.Domain{
		{Name: "gw-a", Nodes: []fleet.Node{{Name: "a-1", Pool: "shop-a"}, {Name: "a-2", Pool: "shop-a"}, {Name: "stray"}, {Name: "stray-2"}}},
		{Name: "gw-b", Nodes: []fleet.Node{{Name: "b-1", Pool: "shop-b"}}},
	}}
}

func service(annotations map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "till", Annotations: annotations}}
}

func TestReachOf(t *testing.T) {
	for value, want := range map[string]topology.Reach{
		"kubernetes.io/hostname": topology.ReachNode,
		"openyurt.io/nodepool":   topology.ReachPool,
		"kubernetes.io/zone":     topology.ReachPool,
	} {
		got, note := topology.ReachOf(service(map[string]string{"openyurt.io/topologyKeys": value}))
		if got != want || note != nil {
			t.Errorf("%s: reach %q, note %v; want %q and none", value, got, note, want)
		}
	}
	for _, value := range []string{
		"", "kubernetes.io/hostname ", "openyurt.io/nodepool,kubernetes.io/zone", "Kubernetes.io/Hostname", "*", "topology.kubernetes.io/zone",
	} {
		got, note := topology.ReachOf(service(map[string]string{"openyurt.io/topologyKeys": value}))
		if got != topology.ReachAnywhere || note == nil {
			t.Errorf("%q: reach %q, note %v; want anywhere and a note", value, got, note)
			continue
		}
		if note.Code != topology.NoteUnknownTopology || !strings.Contains(note.Text, `"`+value+`"`) {
			t.Errorf("%q: note does not name the value: %+v", value, note)
		}
	}
	if got, note := topology.ReachOf(service(nil)); got != topology.ReachAnywhere || note != nil {
		t.Errorf("no annotation: reach %q, note %v", got, note)
	}
	api := service(map[string]string{"openyurt.io/topologyKeys": "kubernetes.io/hostname"})
	api.Namespace, api.Name = "default", "kubernetes"
	if got, _ := topology.ReachOf(api); got != topology.ReachAnywhere {
		t.Errorf("default/kubernetes is pinned to %q", got)
	}
}

// endpoint is one on a node; "-" is one on no node.
func endpoint(node string) discoveryv1.Endpoint {
	ready, serving, terminating := false, true, true
	e := discoveryv1.Endpoint{
		Addresses:  []string{"10.42.0.1"},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		Hints:      &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "elsewhere"}}},
	}
	if node != "-" {
		e.NodeName = &node
	}
	return e
}

func TestPin(t *testing.T) {
	everywhere := []string{"a-1", "a-2", "b-1", "stray", "stray-2", "gone", "-"}
	for _, c := range []struct {
		name  string
		reach topology.Reach
		node  string
		want  []string
	}{
		{"anywhere", topology.ReachAnywhere, "a-1", everywhere},
		{"node", topology.ReachNode, "a-1", []string{"a-1"}},
		{"pool", topology.ReachPool, "a-1", []string{"a-1", "a-2"}},
		{"pool of one", topology.ReachPool, "b-1", []string{"b-1"}},
		{"no pool is the node alone", topology.ReachPool, "stray", []string{"stray"}},
		{"no endpoint here is none at all", topology.ReachNode, "c-1", nil},
		{"no endpoint in the pool is none at all", topology.ReachPool, "c-1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			slice := &discoveryv1.EndpointSlice{}
			old := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{}}} //nolint:staticcheck // old clients
			for _, n := range everywhere {
				e := endpoint(n)
				slice.Endpoints = append(slice.Endpoints, e)
				old.Subsets[0].Addresses = append(old.Subsets[0].Addresses, corev1.EndpointAddress{NodeName: e.NodeName})
			}
			before := slice.DeepCopy()
			got := topology.Pin(slice, c.reach, topology.At(view(), c.node))
			var nodes []string
			for _, e := range got.Endpoints {
				nodes = append(nodes, nameOf(e.NodeName))
			}
			if d := cmp.Diff(c.want, nodes); d != "" {
				t.Errorf("EndpointSlice (-want +got)\n%s", d)
			}
			if d := cmp.Diff(before, slice); d != "" {
				t.Errorf("the argument was changed (-before +after)\n%s", d)
			}
			var addresses []string
			for _, s := range topology.PinEndpoints(old, c.reach, topology.At(view(), c.node)).Subsets {
				for _, a := range s.Addresses {
					addresses = append(addresses, nameOf(a.NodeName))
				}
			}
			if d := cmp.Diff(c.want, addresses); d != "" {
				t.Errorf("Endpoints (-want +got)\n%s", d)
			}
		})
	}
}

func nameOf(node *string) string {
	if node == nil {
		return "-"
	}
	return *node
}

// TestPinKeepsConditions: whether an endpoint that terminates is used is for
// kube-proxy to say; which zone should use it, Pin has said already.
func TestPinKeepsConditions(t *testing.T) {
	want := endpoint("a-1")
	want.Hints = nil
	slice := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{endpoint("a-1")}}
	got := topology.Pin(slice, topology.ReachPool, topology.At(view(), "a-2"))
	if d := cmp.Diff([]discoveryv1.Endpoint{want}, got.Endpoints); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestPinUnconcerned: nothing is copied that need not be.
func TestPinUnconcerned(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{}
	if topology.Pin(slice, topology.ReachAnywhere, topology.At(view(), "a-1")) != slice {
		t.Error("an unpinned slice was copied")
	}
}

func BenchmarkPin(b *testing.B) {
	slice := &discoveryv1.EndpointSlice{}
	for i := range 100 {
		slice.Endpoints = append(slice.Endpoints, endpoint([]string{"a-1", "a-2", "b-1"}[i%3]))
	}
	here := topology.At(view(), "a-1")
	b.ReportAllocs()
	for b.Loop() {
		topology.Pin(slice, topology.ReachPool, here)
	}
}
