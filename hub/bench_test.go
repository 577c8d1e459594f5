// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"runtime"
	"testing"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/topology"
)

// TestLarge holds what a large cluster costs a node: memory, and that a node
// that moves to another pool concerns only those slices that have it.
func TestLarge(t *testing.T) {
	before := heap()
	s, where := filled(t)
	if mb := (heap() - before) >> 20; mb > 90 { // the collector lets the process have about twice that
		t.Errorf("5,000 Services with 50,000 endpoints take %d MB", mb)
	}
	w := follow(t, s, hub.EndpointSlices)
	s.Place(where.with("node-0001", "pool-00").place("node-0000"))
	if n := s.Stats()[1].Events; n != 50 {
		t.Errorf("one node with 50 endpoints came: %d events", n)
	}
	s.Place(where.with("node-0000", "pool-01").place("node-0000"))
	read := 0
	for read < int(s.Stats()[1].Events) {
		events, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		read += len(events)
	}
	if read < 1000 {
		t.Errorf("this node moved, and %d events came", read)
	}
}

// filled is a store that has it all, and alone.
func filled(tb testing.TB) (*hub.Store, pools) {
	tb.Helper()
	services, inSlices, where := large(tb)
	s := hub.New(onNode0())
	s.Place(where.place("node-0000"))
	replace(tb, s, hub.Services, services...)
	replace(tb, s, hub.EndpointSlices, inSlices...)
	return s, where
}

func onNode0() hub.Options {
	o := options()
	o.Node = "node-0000"
	return o
}

// heap is what is alive, in bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLarge is issue 4's table: 5,000 Services, 50,000 endpoints, 1,000
// nodes in 50 pools.
func BenchmarkLarge(b *testing.B) {
	before := heap()
	services, inSlices, where := large(b)
	raw := heap()
	s := hub.New(onNode0())
	s.Place(where.place("node-0000"))
	replace(b, s, hub.Services, services...)
	replace(b, s, hub.EndpointSlices, inSlices...)
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(float64(raw-before)/(1<<20), "MB-objects")
			b.ReportMetric(float64(heap()-before)/(1<<20), "MB")
		}
	})
	b.Run("first", func(b *testing.B) { // from the API server's answer to the first list
		b.ReportAllocs()
		for b.Loop() {
			fresh := hub.New(onNode0())
			fresh.Place(where.place("node-0000"))
			replace(b, fresh, hub.Services, services...)
			replace(b, fresh, hub.EndpointSlices, inSlices...)
			if items, _, err := fresh.List(hub.EndpointSlices); len(items) != 5000 || err != nil {
				b.Fatal(len(items), err)
			}
		}
	})
	b.Run("relist", func(b *testing.B) { // nothing has changed
		again := make([]hub.Object, len(inSlices))
		for i, o := range inSlices {
			again[i] = clone(o)
		}
		for i := 0; b.Loop(); i++ {
			replace(b, s, hub.EndpointSlices, [][]hub.Object{again, inSlices}[i%2]...)
		}
	})
	w := follow(b, s, hub.EndpointSlices)
	away := where.with("node-0001", "pool-00")
	b.Run("neighbour", func(b *testing.B) { relabel(b, s, w, away.place("node-0000"), where.place("node-0000")) })
	moved := where.with("node-0000", "pool-01")
	b.Run("own", func(b *testing.B) { relabel(b, s, w, moved.place("node-0000"), where.place("node-0000")) })
	b.Run("endpoint", func(b *testing.B) {
		one := [2]hub.Object{slice("service-0000-abcde", "service-0000", "node-0000"), slice("service-0000-abcde", "service-0000", "node-0000", "node-0050")}
		for i := 0; b.Loop(); i++ {
			put(b, s, hub.EndpointSlices, clone(one[i%2]))
			if _, err := w.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// relabel moves to and fro, until the last event of each move is read.
func relabel(b *testing.B, s *hub.Store, w *hub.Watch, places ...topology.Place) {
	b.Helper()
	events := 0
	begin := s.Stats()[1].Events
	moves := 0
	for ; b.Loop(); moves++ {
		s.Place(places[moves%2])
		for begin+uint64(events) < s.Stats()[1].Events {
			got, err := w.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			events += len(got)
		}
	}
	b.ReportMetric(float64(events)/float64(moves), "events/op")
}

// clone is o once more, as a watch would decode it.
func clone(o hub.Object) hub.Object {
	c, _ := o.DeepCopyObject().(hub.Object)
	return c
}
