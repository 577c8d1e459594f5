// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

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

// TestGuessKindByKind: a process that was started while the line was cut hears of
// its own Node later than of Services and endpoints.
func TestGuessKindByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := remembering(t.TempDir())
		life(t, o, func(s *hub.Store) {
			replace(t, s, hub.Services, service("web"))
			replace(t, s, hub.EndpointSlices, webs("a-1", "a-2", "b-1"))
			replace(t, s, hub.Endpoints, readyOnes("a-1", "a-2", "b-1"))
			replace(t, s, hub.Nodes, ownNode("True", time.Now().Add(-time.Hour)))
			_, _, _ = s.List(hub.Endpoints)
			synctest.Wait()
		})
		time.Sleep(10 * time.Minute)
		life(t, o, func(s *hub.Store) {
			_, _, _ = s.List(hub.Endpoints)
			time.Sleep(3 * time.Second) // the disk is believed
			replace(t, s, hub.Services, service("web"))
			want := func(ready string) {
				t.Helper()
				same(t, "ready in slices", []string{ready}, whoIsReady(t, s, hub.EndpointSlices))
				same(t, "ready in Endpoints", []string{ready}, whoIsReady(t, s, hub.Endpoints))
			}
			time.Sleep(20 * time.Second) // that kind's reflector has been pausing
			replace(t, s, hub.EndpointSlices, webs("-a-1", "-a-2", "-b-1"))
			replace(t, s, hub.Endpoints, readyOnes("-a-1", "-a-2", "-b-1"))
			want("a-1 a-2")
			time.Sleep(20 * time.Second)
			want("a-1 a-2")
			replace(t, s, hub.Nodes, ownNode("Unknown", time.Now().Add(-9*time.Minute)))
			put(t, s, hub.Nodes, ownNode("True", time.Now()))
			put(t, s, hub.EndpointSlices, webs("a-1", "-a-2", "-b-1"))
			put(t, s, hub.Endpoints, readyOnes("a-1", "-a-2", "-b-1"))
			want("a-1 a-2")
			time.Sleep(70 * time.Second) // a-2 is still not ready, so that is no guess
			want("a-1")
		})
	})
}

// TestGuessWithoutNode: an API server that never tells of the own Node is
// believed all the same, later.
func TestGuessWithoutNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := remembering(t.TempDir())
		life(t, o, func(s *hub.Store) {
			replace(t, s, hub.Services, service("web"))
			replace(t, s, hub.EndpointSlices, webs("a-1"))
		})
		life(t, o, func(s *hub.Store) {
			time.Sleep(3 * time.Second)
			replace(t, s, hub.Services, service("web"))
			replace(t, s, hub.EndpointSlices, webs("-a-1"))
			time.Sleep(50 * time.Second)
			same(t, "ready", []string{"a-1"}, whoIsReady(t, s, hub.EndpointSlices))
			time.Sleep(20 * time.Second)
			same(t, "ready", []string{""}, whoIsReady(t, s, hub.EndpointSlices))
		})
	})
}

// TestNobodyAnswers: client-go makes of a watch that cannot connect one that has
// opened and ended. The line must not take that for a word from the API server.
func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := remembering(t.TempDir())
		o.Config = &rest.Config{Host: "http://203.0.113.1", QPS: -1, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case <-time.After(30 * time.Second):
				return nil, os.ErrDeadlineExceeded
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
		life(t, o, func(s *hub.Store) {
			for range 60 {
				time.Sleep(10 * time.Second)
				if s.Online() || !s.LastHeard().IsZero() || !s.Stats()[0].Heard.IsZero() {
					t.Fatalf("online %v, heard %v, of Services %v", s.Online(), s.LastHeard(), s.Stats()[0].Heard)
				}
			}
		})
		time.Sleep(time.Minute) // what dials goes on dialling
		if n := strings.Count(log.String(), "api server does not answer the hub"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log)
		}
	})
}

// readyOnes are webs of the old kind.
func readyOnes(nodes ...string) *corev1.Endpoints { //nolint:staticcheck // old clients read Endpoints
	e := endpoints("web")
	var sub corev1.EndpointSubset //nolint:staticcheck // as above
	for i, n := range nodes {
		name := strings.TrimPrefix(n, "-")
		a := corev1.EndpointAddress{IP: fmt.Sprintf("10.42.0.%d", i+1), NodeName: &name}
		if name == n {
			sub.Addresses = append(sub.Addresses, a)
		} else {
			sub.NotReadyAddresses = append(sub.NotReadyAddresses, a)
		}
	}
	e.Subsets = append(e.Subsets[:0], sub)
	return e
}

// whoIsReady names the nodes with a ready endpoint, a line for each object.
func whoIsReady(t *testing.T, s *hub.Store, k hub.Kind) []string {
	t.Helper()
	items, _, err := s.List(k)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, i := range items {
		var nodes []string
		switch o := i.Object.(type) {
		case *discoveryv1.EndpointSlice:
			for _, e := range o.Endpoints {
				if *e.Conditions.Ready {
					nodes = append(nodes, *e.NodeName)
				}
			}
		case *corev1.Endpoints: //nolint:staticcheck // as above
			for _, sub := range o.Subsets {
				for _, a := range sub.Addresses {
					nodes = append(nodes, *a.NodeName)
				}
			}
		}
		out = append(out, strings.Join(nodes, " "))
	}
	return out
}
