// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-edge/magpie/hub"
)

// TestResume: a watch goes on from any version that the journal still reaches,
// and from no other.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Window = 8
		s := hub.New(o)
		s.Place(shops().place("a-1"))
		replace(t, s, hub.Services, service("till"))
		_, start, err := s.List(hub.Services)
		if err != nil {
			t.Fatal(err)
		}
		stuck := follow(t, s, hub.Services)
		refused := func(since uint64, want error) {
			t.Helper()
			if w, err := s.Watch(hub.Services, since); w != nil || !errors.Is(err, want) {
				t.Errorf("watch from start%+d: %v, want %v", int64(since-start), err, want)
			}
		}
		refused(start-1, hub.ErrGone) // another process's
		refused(4711, hub.ErrGone)    // the API server's
		refused(start+1, hub.ErrTooNew)
		for i := range 8 {
			put(t, s, hub.Services, service("till", "n", fmt.Sprint(i)))
		}
		w, err := s.Watch(hub.Services, start)
		if err != nil {
			t.Fatal(err)
		}
		if got := drain(t, w); len(got) != 8 {
			t.Errorf("all from the start: %v", got)
		}
		for i := range 8 {
			put(t, s, hub.Services, service("till", "n", fmt.Sprint(8+i)))
		}
		refused(start, hub.ErrGone)
		if _, err := stuck.Next(t.Context()); !errors.Is(err, hub.ErrGone) {
			t.Errorf("a reader that was too slow: %v", err)
		}
		if got := drain(t, w); len(got) != 8 {
			t.Errorf("a reader that was not: %v", got)
		}
		if w, err = s.Watch(hub.Services, start+8); err != nil {
			t.Errorf("the window is less than it promises: %v", err)
		}
		if got := drain(t, w); len(got) != 8 {
			t.Errorf("the last eight: %v", got)
		}
		if st := s.Stats()[0]; st.Gone != 4 || st.Events != 16 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestWindowHoldsAll: with more objects than the window has room for, a change
// of all of them still is no reason to list again.
func TestWindowHoldsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Window = 8
		s := hub.New(o)
		s.Place(shops().place("a-1"))
		var services, inSlices []hub.Object
		for i := range 500 {
			name := fmt.Sprintf("s-%03d", i)
			services = append(services, pinned(name, byPool))
			inSlices = append(inSlices, slice(name, name, "a-1", "b-1"))
		}
		replace(t, s, hub.Services, services...)
		replace(t, s, hub.EndpointSlices, inSlices...)
		w := follow(t, s, hub.EndpointSlices)
		s.Place(shops().with("b-1", "shop-a").place("a-1"))
		got := drain(t, w)
		if len(got) != 500 || !slices.IsSorted(got) {
			t.Errorf("%d events, in order: %v", len(got), slices.IsSorted(got))
		}
	})
}

// TestNextWaits: a reader that has read everything waits for news of its own
// kind, and its version goes on with those of others.
func TestNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hub.New(options())
		s.Place(shops().place("a-1"))
		replace(t, s, hub.Services, service("till"))
		replace(t, s, hub.EndpointSlices)
		w := follow(t, s, hub.EndpointSlices)
		got := make(chan []hub.Event)
		go func() {
			events, err := w.Next(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- events
		}()
		synctest.Wait()
		put(t, s, hub.Services, service("shelf"))
		synctest.Wait()
		put(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1"))
		if events := <-got; len(events) != 1 || events[0].Version != w.Version() {
			t.Errorf("%+v", events)
		}
		put(t, s, hub.Services, service("cart"))
		if _, version, err := s.List(hub.Services); err != nil || w.Version() != version {
			t.Errorf("version %d, want %d, %v", w.Version(), version, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing came: %v", err)
		}
		if n := s.Stats()[1].Watchers; n != 1 {
			t.Errorf("%d watchers", n)
		}
		w.Close()
		w.Close()
		if n := s.Stats()[1].Watchers; n != 0 {
			t.Errorf("%d watchers after all have gone", n)
		}
	})
}

// TestReadersAgree: whoever starts from a list and applies the events has what
// the list says, at any speed, while everything changes at once.
func TestReadersAgree(t *testing.T) {
	o := options()
	o.Window = 16
	s := hub.New(o)
	s.Place(shops().place("a-1"))
	replace(t, s, hub.Services)
	replace(t, s, hub.EndpointSlices)
	replace(t, s, hub.Endpoints)
	var readers, writers sync.WaitGroup
	for i := range 12 {
		k := hub.Kinds()[i%3]
		readers.Go(func() { reader(t, s, k) })
	}
	for seed := range 3 {
		writers.Go(func() { writer(t, s, rand.New(rand.NewPCG(1, uint64(seed)))) })
	}
	writers.Wait()
	put(t, s, hub.Services, service("end"))
	put(t, s, hub.EndpointSlices, slice("end", ""))
	put(t, s, hub.Endpoints, endpoints("end"))
	readers.Wait()
}

// writer does a thousand things at random.
func writer(tb testing.TB, s *hub.Store, r *rand.Rand) {
	tb.Helper()
	nodes := []string{"a-1", "a-2", "b-1", "b-2"}
	reaches := []string{byPool, byNode, "nonsense"}
	for range 1000 {
		name := fmt.Sprintf("s-%d", r.IntN(6))
		switch r.IntN(9) {
		case 0:
			put(tb, s, hub.Services, service(name))
		case 1:
			put(tb, s, hub.Services, pinned(name, reaches[r.IntN(3)]))
		case 2:
			drop(tb, s, hub.Services, service(name))
		case 3:
			drop(tb, s, hub.EndpointSlices, slice(name, name))
		case 4:
			put(tb, s, hub.Endpoints, endpoints(name, nodes[:r.IntN(5)]...))
		case 5:
			s.Place(shops().with(nodes[r.IntN(4)], fmt.Sprintf("shop-%c", 'a'+r.IntN(3))).place("a-1"))
		case 6:
			replace(tb, s, hub.EndpointSlices, slice(name, name, nodes...), slice("s-0", "s-1", "a-1"))
		default:
			put(tb, s, hub.EndpointSlices, slice(name, name, nodes[:r.IntN(5)]...))
		}
	}
}

// reader follows a kind until the object "end" comes, and compares.
func reader(tb testing.TB, s *hub.Store, k hub.Kind) {
	tb.Helper()
	model := map[string]string{}
	w := begin(tb, s, k, model)
	for model["end"] == "" {
		events, err := w.Next(tb.Context())
		if errors.Is(err, hub.ErrGone) {
			w.Close()
			clear(model)
			w = begin(tb, s, k, model)
			continue
		}
		if err != nil {
			tb.Error(err)
			return
		}
		for _, e := range events {
			apply(tb, model, e)
		}
	}
	var got []string
	for _, line := range model {
		got = append(got, line)
	}
	want := seen(tb, s, k)
	slices.Sort(got)
	slices.Sort(want)
	same(tb, k.Resource, want, got)
	w.Close()
}

func begin(tb testing.TB, s *hub.Store, k hub.Kind, model map[string]string) *hub.Watch {
	tb.Helper()
	items, _, w, err := s.Follow(k)
	if err != nil {
		tb.Error(err)
	}
	for _, i := range items {
		model[i.Object.GetName()] = describe(i.Object)
	}
	return w
}

// apply takes one event over, and holds that it fits what was before.
func apply(tb testing.TB, model map[string]string, e hub.Event) {
	tb.Helper()
	name := e.Item.Object.GetName()
	was, there := model[name]
	if (e.Type == hub.Added) == there || (e.Was == nil) == there || there && describe(e.Was) != was {
		tb.Errorf("%s of %s, which was %q", e.Type, describe(e.Item.Object), was)
	}
	if e.Type == hub.Deleted {
		delete(model, name)
	} else {
		model[name] = describe(e.Item.Object)
	}
}
