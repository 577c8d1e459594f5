// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/hub"
)

// ownNode is a-1 as the control plane sees it since a time.
func ownNode(ready corev1.ConditionStatus, since time.Time) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a-1", UID: "n-a-1"}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastTransitionTime: metav1.NewTime(since)}}
	return n
}

// webs are endpoints on nodes, "NODE" for one that is ready, "-NODE" for one
// that is not.
func webs(nodes ...string) *discoveryv1.EndpointSlice {
	var names []string
	for _, n := range nodes {
		names = append(names, strings.TrimPrefix(n, "-"))
	}
	s := slice("web-1", "web", names...)
	for i, n := range nodes {
		ready := !strings.HasPrefix(n, "-")
		s.Endpoints[i].Conditions.Ready = &ready
	}
	return s
}

// TestGuess: what the control plane thinks of the pods of a site that it does not
// hear of is not believed; all else is.
func TestGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hub.New(options())
		s.Place(shops().place("a-1"))
		into := func(k hub.Kind, o any) {
			t.Helper()
			if err := s.Into(k).Update(o); err != nil {
				t.Fatal(err)
			}
		}
		want := func(nodes ...string) {
			t.Helper()
			items, _, err := s.List(hub.EndpointSlices)
			if err != nil || len(items) != 1 {
				t.Fatalf("%d slices, %v", len(items), err)
			}
			var got []string
			for _, e := range items[0].Object.(*discoveryv1.EndpointSlice).Endpoints { //nolint:forcetypeassert // what it lists
				name := *e.NodeName
				if !*e.Conditions.Ready {
					name = "-" + name
				}
				got = append(got, name)
			}
			if !slices.Equal(got, nodes) {
				t.Errorf("shown are %v, want %v", got, nodes)
			}
		}
		all := []any{service("web")}
		for k, list := range map[hub.Kind][]any{hub.Services: all, hub.EndpointSlices: {webs("a-1", "a-2", "b-1")}, hub.Nodes: {ownNode("True", time.Now().Add(-time.Hour))}} {
			if err := s.Into(k).Replace(list, "1"); err != nil {
				t.Fatal(err)
			}
		}
		want("a-1", "a-2", "b-1")
		into(hub.EndpointSlices, webs("a-1", "-a-2", "b-1")) // its kubelet says so
		want("a-1", "-a-2", "b-1")
		into(hub.EndpointSlices, webs("a-1", "a-2", "b-1"))

		into(hub.Nodes, ownNode("Unknown", time.Now()))
		into(hub.EndpointSlices, webs("-a-1", "-a-2", "-b-1"))
		want("a-1", "a-2", "-b-1")
		time.Sleep(10 * time.Minute)
		want("a-1", "a-2", "-b-1")
		into(hub.EndpointSlices, webs("-a-1", "-a-2", "b-1", "-a-1")) // nobody was ready at the new address
		want("a-1", "a-2", "b-1", "-a-1")
		over := webs("-a-1", "-a-2", "b-1")
		yes := true
		over.Endpoints[1].Conditions.Terminating = &yes
		into(hub.EndpointSlices, over)
		want("a-1", "-a-2", "b-1")

		into(hub.Nodes, ownNode("True", time.Now()))
		time.Sleep(30 * time.Second)
		want("a-1", "-a-2", "b-1")
		time.Sleep(time.Minute) // its kubelet has spoken, and this is still so
		want("-a-1", "-a-2", "b-1")
		into(hub.EndpointSlices, webs("a-1", "a-2", "b-1"))
		want("a-1", "a-2", "b-1")
	})
}
