// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
)

func same(tb testing.TB, what string, want, got any) {
	tb.Helper()
	if d := cmp.Diff(want, got); d != "" {
		tb.Errorf("%s (-want +got)\n%s", what, d)
	}
}

// TestUnknownIsNotOpen: nothing is shown before all that decides on it is
// known, in whatever order it becomes known.
func TestUnknownIsNotOpen(t *testing.T) {
	s := hub.New(options())
	refused := func(kinds ...hub.Kind) {
		t.Helper()
		for _, k := range kinds {
			if _, _, err := s.List(k); !errors.Is(err, hub.ErrNotReady) {
				t.Errorf("list of %s: %v", k.Resource, err)
			}
			if _, err := s.Watch(k, 0); !errors.Is(err, hub.ErrNotReady) {
				t.Errorf("watch of %s: %v", k.Resource, err)
			}
			if _, err := s.Get(k, "shop", "till"); !errors.Is(err, hub.ErrNotReady) {
				t.Errorf("get of %s: %v", k.Resource, err)
			}
		}
	}
	refused(hub.Kinds()...)
	replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "b-1"))
	replace(t, s, hub.Endpoints, endpoints("till", "a-1", "b-1"))
	s.Place(shops().place("a-1"))
	refused(hub.Kinds()...)
	replace(t, s, hub.Services, pinned("till", byPool))
	refused(hub.Nodes)
	same(t, "services", []string{"till 30080"}, seen(t, s, hub.Services))
	same(t, "slices", []string{"till-1 a-1"}, seen(t, s, hub.EndpointSlices))
	same(t, "endpoints", []string{"till a-1"}, seen(t, s, hub.Endpoints))

	s = hub.New(options())
	replace(t, s, hub.Services, pinned("till", byPool))
	replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "b-1"))
	refused(hub.Services, hub.EndpointSlices) // where is this node?
	replace(t, s, hub.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a-1"}})
	same(t, "nodes", []string{"a-1"}, seen(t, s, hub.Nodes)) // no filter, no question
}

// TestServices: they are known as soon as a list is, wherever the node is, with
// the NodePorts that are fenced; whoever must know hears of each change, also of
// one that no reader is shown.
func TestServices(t *testing.T) {
	o, heard := options(), 0
	o.Changed = func() { heard++ }
	s := hub.New(o)
	if _, err := s.Services(); !errors.Is(err, hub.ErrNotReady) {
		t.Fatalf("before the first list: %v", err)
	}
	ports := func() (out []int32) {
		services, err := s.Services()
		if err != nil {
			t.Fatal(err)
		}
		for _, svc := range services {
			out = append(out, svc.Spec.Ports[0].NodePort)
		}
		return out
	}
	step := func(what string, do func()) {
		t.Helper()
		before := heard
		do()
		if heard != before+1 {
			t.Errorf("%s: heard %d times", what, heard-before)
		}
	}
	step("an empty list", func() { replace(t, s, hub.Services) })
	same(t, "none", []int32(nil), ports())
	fenced := service("till", "nodeport.openyurt.io/listen", "shop-b")
	step("a list", func() { replace(t, s, hub.Services, fenced) })
	s.Place(shops().place("a-1"))
	same(t, "fenced", []int32{30080}, ports())
	moved := fenced.DeepCopy()
	moved.Spec.Ports[0].NodePort = 30081
	step("another NodePort", func() {
		if err := s.Into(hub.Services).Update(moved); err != nil {
			t.Fatal(err)
		}
	})
	same(t, "moved", []int32{30081}, ports())
	step("deleted", func() {
		if err := s.Into(hub.Services).Delete(moved); err != nil {
			t.Fatal(err)
		}
	})
	same(t, "gone", []int32(nil), ports())
}

// TestShown is what Pin and Fence make of a few Services, and of slices whose
// Service is not there.
func TestShown(t *testing.T) {
	s := hub.New(options())
	s.Place(shops().place("a-1"))
	api := pinned("kubernetes", byNode)
	api.Namespace = "default"
	apiSlice := slice("kubernetes", "kubernetes", "cp")
	apiSlice.Namespace = "default"
	replace(t, s, hub.Services, service("open"), pinned("pool", byPool), pinned("node", byNode), api,
		service("fenced", "nodeport.openyurt.io/listen", "shop-b"), service("mine", "nodeport.openyurt.io/listen", "shop-a"))
	replace(t, s, hub.EndpointSlices, apiSlice, slice("open-1", "open", "a-1", "b-1"), slice("pool-1", "pool", "a-1", "a-2", "b-1"),
		slice("pool-2", "pool", "b-1"), slice("node-1", "node", "a-1", "a-2"), slice("orphan-1", "orphan", "a-1"), slice("manual", "", "b-1"))
	replace(t, s, hub.Endpoints, endpoints("pool", "a-2", "b-1"), endpoints("orphan", "a-1"))
	same(t, "services", []string{"kubernetes 30080", "fenced 0", "mine 30080", "node 30080", "open 30080", "pool 30080"}, seen(t, s, hub.Services))
	same(t, "slices", []string{"kubernetes cp", "manual b-1", "node-1 a-1", "open-1 a-1,b-1", "pool-1 a-1,a-2", "pool-2"}, seen(t, s, hub.EndpointSlices))
	same(t, "endpoints", []string{"pool a-2"}, seen(t, s, hub.Endpoints))
	if o, err := s.Get(hub.EndpointSlices, "shop", "orphan-1"); o != nil || err != nil {
		t.Errorf("a slice without its Service is shown: %v %v", o, err)
	}
}

// TestAtOnce: a change of anything that decides reaches those who are affected,
// and nothing else is sent.
func TestAtOnce(t *testing.T) {
	type world struct {
		*testing.T
		s *hub.Store
	}
	tell := func(annotations ...string) func(world) {
		return func(w world) { put(w, w.s, hub.Services, service("till", annotations...)) }
	}
	place := func(p pools) func(world) {
		return func(w world) { w.s.Place(p.place("a-1")) }
	}
	for _, c := range []struct {
		name                string
		do                  func(world)
		services, endpoints []string // what is sent; of slices, and with -1 taken away of Endpoints
	}{
		{"an annotation is taken away", tell(), []string{"MODIFIED till 30080"}, []string{"MODIFIED till-1 a-1,a-2,b-1"}},
		{"an annotation changes", tell("openyurt.io/topologyKeys", byNode), []string{"MODIFIED till 30080"}, []string{"MODIFIED till-1 a-1"}},
		{"another word for the same", tell("openyurt.io/topologyKeys", "kubernetes.io/zone"), []string{"MODIFIED till 30080"}, nil},
		{"a fence", tell("openyurt.io/topologyKeys", byPool, "nodeport.openyurt.io/listen", "-shop-a,*"), []string{"MODIFIED till 0"}, nil},
		{"nothing but a version", func(w world) {
			svc := pinned("till", byPool)
			svc.ResourceVersion = "2"
			svc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
			put(w, w.s, hub.Services, svc)
			put(w, w.s, hub.EndpointSlices, slice("till-1", "till", "a-1", "a-2", "b-1"))
		}, nil, nil},
		{"an endpoint of ours", func(w world) {
			put(w, w.s, hub.EndpointSlices, slice("till-1", "till", "a-1", "b-1"))
			put(w, w.s, hub.Endpoints, endpoints("till", "a-1", "b-1"))
		}, nil, []string{"MODIFIED till-1 a-1"}},
		{"an endpoint elsewhere", func(w world) {
			put(w, w.s, hub.EndpointSlices, slice("till-1", "till", "a-1", "a-2", "b-1", "b-2"))
			put(w, w.s, hub.Endpoints, endpoints("till", "a-1", "a-2", "b-1", "b-2"))
		}, nil, nil},
		{"a neighbour comes", place(shops().with("b-1", "shop-a")), nil, []string{"MODIFIED till-1 a-1,a-2,b-1"}},
		{"a neighbour goes", place(shops().with("a-2", "")), nil, []string{"MODIFIED till-1 a-1"}},
		{"somebody else moves", place(shops().with("b-1", "shop-c")), nil, nil},
		{"nobody moves", place(shops()), nil, nil},
		{"this node moves", place(shops().with("a-1", "shop-b")), []string{"MODIFIED fenced 30080"}, []string{"MODIFIED till-1 a-1,b-1"}},
		{"the Service goes", func(w world) { drop(w, w.s, hub.Services, service("till")) }, []string{"DELETED till 30080"}, []string{"DELETED till-1 a-1,a-2"}},
		{"a Service comes", func(w world) { put(w, w.s, hub.Services, service("late")) }, []string{"ADDED late 30080"}, []string{"ADDED late-1 b-2"}},
		{"a slice goes", func(w world) {
			drop(w, w.s, hub.EndpointSlices, slice("till-1", "till"))
			drop(w, w.s, hub.Endpoints, endpoints("till"))
		}, nil, []string{"DELETED till-1 a-1,a-2"}},
		{"a slice nobody sees goes", func(w world) { drop(w, w.s, hub.EndpointSlices, slice("late-1", "late")) }, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := hub.New(options())
				s.Place(shops().place("a-1"))
				replace(t, s, hub.Services, pinned("till", byPool), service("open"), service("fenced", "nodeport.openyurt.io/listen", "shop-b"))
				replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "a-2", "b-1"), slice("open-1", "open", "a-2", "b-1"), slice("late-1", "late", "b-2"))
				replace(t, s, hub.Endpoints, endpoints("till", "a-1", "a-2", "b-1"), endpoints("open", "a-2", "b-1"), endpoints("late", "b-2"))
				services, inSlices, old := follow(t, s, hub.Services), follow(t, s, hub.EndpointSlices), follow(t, s, hub.Endpoints)
				c.do(world{t, s})
				same(t, "services", append([]string{}, c.services...), drain(t, services))
				same(t, "slices", append([]string{}, c.endpoints...), drain(t, inSlices))
				want := []string{}
				for _, e := range c.endpoints {
					want = append(want, strings.Replace(e, "-1 ", " ", 1))
				}
				same(t, "endpoints", want, drain(t, old))
			})
		})
	}
}

// TestPoolComes: a node that joins has no pool at first; it is alone then.
func TestPoolComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hub.New(options())
		s.Place(pools{}.place("a-1"))
		replace(t, s, hub.Services, pinned("till", byPool), service("open"), service("fenced", "nodeport.openyurt.io/listen", "-*"))
		replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "a-2", "b-1"), slice("open-1", "open", "a-2"))
		services, inSlices := follow(t, s, hub.Services), follow(t, s, hub.EndpointSlices)
		steps := func(p pools, wantServices, wantSlices []string) {
			t.Helper()
			s.Place(p.place("a-1"))
			same(t, "services", wantServices, drain(t, services))
			same(t, "slices", wantSlices, drain(t, inSlices))
		}
		same(t, "alone", []string{"open-1 a-2", "till-1 a-1"}, seen(t, s, hub.EndpointSlices))
		steps(shops().with("a-1", ""), []string{}, []string{})
		steps(shops(), []string{"MODIFIED fenced 0"}, []string{"MODIFIED till-1 a-1,a-2"})
		steps(shops().with("a-1", ""), []string{"MODIFIED fenced 30080"}, []string{"MODIFIED till-1 a-1"})
		put(t, s, hub.EndpointSlices, slice("till-2", "till", "c-1"))
		steps(shops().with("c-1", "shop-a"), []string{"MODIFIED fenced 0"}, []string{"ADDED till-2", "MODIFIED till-1 a-1,a-2", "MODIFIED till-2 c-1"})
	})
}

// TestMovedEndpoints: an EndpointSlice that is given to another Service is
// pinned by that one from then on.
func TestMovedEndpoints(t *testing.T) {
	s := hub.New(options())
	s.Place(shops().place("a-1"))
	replace(t, s, hub.Services, pinned("till", byPool), pinned("shelf", byNode))
	replace(t, s, hub.EndpointSlices, slice("x", "till", "a-1", "a-2", "b-1"))
	put(t, s, hub.EndpointSlices, slice("x", "shelf", "a-1", "a-2", "b-1"))
	same(t, "after the move", []string{"x a-1"}, seen(t, s, hub.EndpointSlices))
	put(t, s, hub.Services, service("till"))
	same(t, "the old Service says nothing", []string{"x a-1"}, seen(t, s, hub.EndpointSlices))
	put(t, s, hub.Services, service("shelf"))
	same(t, "the new one does", []string{"x a-1,a-2,b-1"}, seen(t, s, hub.EndpointSlices))
}

// TestRelist: a list that replaces another one is told as the differences, and
// an empty one that the API server gave is believed.
func TestRelist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hub.New(options())
		s.Place(shops().place("a-1"))
		replace(t, s, hub.Services, service("a"), service("b"), service("c"), service("d"))
		w := follow(t, s, hub.Services)
		other := service("c")
		other.UID = "another"
		replace(t, s, hub.Services, service("d"), other, service("b", "x", "y"), service("e"))
		same(t, "differences", []string{"MODIFIED b 30080", "DELETED c 30080", "ADDED c 30080", "ADDED e 30080", "DELETED a 30080"}, drain(t, w))
		replace(t, s, hub.Services, service("e"), other, service("d"), service("b", "x", "y"))
		same(t, "the same list", []string{}, drain(t, w))
		replace(t, s, hub.Services)
		same(t, "nothing", []string{"DELETED b 30080", "DELETED c 30080", "DELETED d 30080", "DELETED e 30080"}, drain(t, w))
		if items, _, err := s.List(hub.Services); len(items) != 0 || err != nil {
			t.Errorf("list: %v %v", items, err)
		}
	})
}

// TestVersions: list and events carry the hub's versions, a single object the
// API server's.
func TestVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hub.New(options())
		start := uint64(time.Now().UnixMilli()) << 20
		s.Place(shops().place("a-1"))
		svc := pinned("till", byPool)
		svc.ResourceVersion = "4711"
		replace(t, s, hub.Services, svc)
		replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "b-1"))
		items, first, w, err := s.Follow(hub.Services)
		if err != nil || first <= start || first > start+10 {
			t.Fatalf("version %d, start %d, %v", first, start, err)
		}
		if got := items[0].Object.GetResourceVersion(); got != strconv.FormatUint(items[0].Version, 10) || items[0].Version > first {
			t.Errorf("item of version %d says %s, list %d", items[0].Version, got, first)
		}
		put(t, s, hub.Services, service("till"))
		events, err := w.Next(t.Context())
		if err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		e := events[0]
		if e.Version != first+1 || e.Item.Version != e.Version || e.Item.Object.GetResourceVersion() != strconv.FormatUint(e.Version, 10) || e.Was != items[0].Object {
			t.Errorf("event %+v after version %d", e, first)
		}
		if w.Version() != first+2 { // the slice has changed, too
			t.Errorf("version of the watch: %d, want %d", w.Version(), first+2)
		}
		got, err := s.Get(hub.Services, "shop", "till")
		if err != nil || got.GetResourceVersion() != "1" {
			t.Errorf("get: %v, %v", got, err)
		}
		if got, err := s.Get(hub.Services, "shop", "nobody"); got != nil || err != nil {
			t.Errorf("get of what is not there: %v, %v", got, err)
		}
		drop(t, s, hub.Services, service("till"))
		events, err = w.Next(t.Context())
		if err != nil || len(events) != 1 || events[0].Type != hub.Deleted || events[0].Item.Object.GetResourceVersion() != strconv.FormatUint(events[0].Version, 10) {
			t.Errorf("deletion %+v, %v", events, err)
		}
	})
}

// TestSharing: what the node sees whole is kept once.
func TestSharing(t *testing.T) {
	s := hub.New(options())
	s.Place(shops().place("a-1"))
	svc := service("till")
	replace(t, s, hub.Services, svc)
	again := service("till")
	again.ResourceVersion = "2"
	for i, truth := range []*corev1.Service{svc, again} {
		put(t, s, hub.Services, truth)
		items, _, err := s.List(hub.Services)
		if err != nil {
			t.Fatal(err)
		}
		if shown, ok := items[0].Object.(*corev1.Service); !ok || &shown.Spec.Ports[0] != &truth.Spec.Ports[0] {
			t.Errorf("truth %d: what is shown is a copy", i)
		}
	}
}

// TestNotes: a value that says nothing is told once, and again if it comes back
// after a while.
func TestNotes(t *testing.T) {
	var notes []string
	o, now := options(), time.Now()
	o.Now = func() time.Time { return now }
	var s *hub.Store
	o.Note = func(svc *corev1.Service, n plan.Note) {
		if n.Code != topology.NoteUnknownTopology {
			t.Errorf("note %+v", n)
		}
		notes = append(notes, svc.Name+" "+svc.Annotations["openyurt.io/topologyKeys"])
		s.Stats() // it may ask
	}
	s = hub.New(o)
	s.Place(shops().place("a-1"))
	replace(t, s, hub.Services, pinned("till", "region"), pinned("open", byPool))
	replace(t, s, hub.EndpointSlices, slice("till-1", "till", "b-1"))
	put(t, s, hub.Services, pinned("till", "region"))
	replace(t, s, hub.Services, pinned("till", "region"), pinned("open", byPool))
	put(t, s, hub.Services, pinned("till", "planet"))
	put(t, s, hub.Services, pinned("till", byPool))
	put(t, s, hub.Services, pinned("till", "planet"))
	now = now.Add(time.Minute)
	put(t, s, hub.Services, pinned("till", byPool))
	put(t, s, hub.Services, pinned("till", "planet"))
	s.Place(shops().with("a-1", "shop-b").place("a-1"))
	same(t, "notes", []string{"till region", "till planet", "till planet"}, notes)
}

// TestWait: a kind that is kept on demand is, once asked for.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hub.New(options())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Wait(ctx, hub.Services); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing is known: %v", err)
		}
		done := make(chan error)
		go func() { done <- s.Wait(t.Context(), hub.Services) }()
		synctest.Wait()
		s.Place(shops().place("a-1"))
		replace(t, s, hub.Services)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Wait(t.Context(), hub.Services); err != nil {
			t.Error(err)
		}
	})
}

// TestStrangers: what is of no kind of the hub, or of another one, is refused.
func TestStrangers(t *testing.T) {
	s := hub.New(options())
	pods := hub.Kind{Name: "Pod", Resource: "pods"}
	if _, _, err := s.List(pods); err == nil || errors.Is(err, hub.ErrNotReady) {
		t.Errorf("list of pods: %v", err)
	}
	if s.Into(pods) != nil {
		t.Error("pods are kept")
	}
	if err := s.Into(hub.Services).Add(slice("x", "y")); err == nil {
		t.Error("a slice is kept among Services")
	}
	if err := s.Into(hub.Services).Replace([]any{service("a"), "b"}, "1"); err == nil {
		t.Error("a string is kept among Services")
	}
	if err := s.Into(hub.Services).Replace(nil, ""); err == nil {
		t.Error("a list without a version is believed")
	}
	if st := s.Stats()[0]; st.Objects != 0 || st.Ready {
		t.Errorf("half of a list was taken: %+v", st)
	}
}
