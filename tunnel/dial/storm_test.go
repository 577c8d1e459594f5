// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/dial"
)

// world is many agents and the gateway instances behind one address, which
// answers whoever dials at random. Time is virtual.
type world struct {
	t         *testing.T
	random    *rand.Rand
	now       time.Time
	queue     queue
	pushed    int
	agents    []*agent
	instances []string // that answer now
	rtt       time.Duration
	dials     map[int]int // how many, by second
}

// agent is one Dialler and what it has open: connection to instance.
type agent struct {
	w    *world
	d    *dial.Dialler
	open map[int]string
	// most is the most connections that were open at once.
	most int
}

type happening struct {
	at time.Time
	n  int // keeps the order of what is at the same time
	do func()
}

type queue []happening

func (q *queue) Len() int { return len(*q) }
func (q *queue) Less(i, j int) bool {
	a, b := (*q)[i], (*q)[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.n < b.n
}
func (q *queue) Swap(i, j int) { (*q)[i], (*q)[j] = (*q)[j], (*q)[i] }
func (q *queue) Push(x any)    { *q = append(*q, x.(happening)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func newWorld(t *testing.T, seed uint64, agents int) *world {
	t.Helper()
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), now: start,
		rtt: 60 * time.Millisecond, dials: map[int]int{},
	}
	for range agents {
		a := &agent{w: w, open: map[int]string{}}
		a.d = dial.New(w.random.Float64)
		w.agents = append(w.agents, a)
		a.step(dial.Renewed{})
		a.step(dial.Addresses{List: []string{"lb:443"}})
	}
	return w
}

func (w *world) after(d time.Duration, do func()) {
	w.pushed++
	heap.Push(&w.queue, happening{w.now.Add(d), w.pushed, do})
}

func (w *world) runTo(end time.Duration) {
	w.t.Helper()
	for n := 0; w.queue.Len() > 0 && !w.queue[0].at.After(start.Add(end)); n++ {
		if n > 5_000_000 {
			w.t.Fatal("it never comes to rest")
		}
		h := heap.Pop(&w.queue).(happening)
		w.now = h.at
		h.do()
	}
	w.now = start.Add(end)
}

// kill ends an instance with everything that runs on it.
func (w *world) kill(name string) {
	w.instances = slices.DeleteFunc(slices.Clone(w.instances), func(x string) bool { return x == name })
	for _, a := range w.agents {
		for id, instance := range a.open {
			if instance == name {
				a.ended(id)
			}
		}
	}
	w.tell()
}

// add starts an instance.
func (w *world) add(name string) {
	w.instances = append(slices.Clone(w.instances), name)
	w.tell()
}

// tell repeats the greeting on every connection, as gateways do.
func (w *world) tell() {
	for _, a := range w.agents {
		for _, id := range slices.Sorted(maps.Keys(a.open)) {
			if instance, open := a.open[id]; open {
				a.step(dial.Greeted{Conn: id, Instance: instance, Instances: w.instances})
			}
		}
	}
}

func (a *agent) step(e dial.Event) {
	for _, x := range a.d.Step(a.w.now, e) {
		a.act(x)
	}
	if next := a.d.Next(); !next.IsZero() {
		a.w.after(max(next.Sub(a.w.now), 0), func() {
			if n := a.d.Next(); !n.IsZero() && !n.After(a.w.now) {
				a.step(dial.Tick{})
			}
		})
	}
}

func (a *agent) act(x dial.Action) {
	w := a.w
	switch x := x.(type) {
	case dial.Dial:
		w.dials[int(w.now.Sub(start)/time.Second)]++
		if len(w.instances) == 0 {
			w.after(w.rtt, func() { a.step(dial.Ended{Conn: x.Conn}) })
			return
		}
		instance := w.instances[w.random.IntN(len(w.instances))]
		w.after(3*w.rtt, func() {
			if !slices.Contains(w.instances, instance) {
				a.step(dial.Ended{Conn: x.Conn})
				return
			}
			a.open[x.Conn] = instance
			a.most = max(a.most, len(a.open))
			a.step(dial.Greeted{Conn: x.Conn, Instance: instance, Instances: w.instances})
		})
	case dial.Drain:
		w.after(w.rtt, func() { a.ended(x.Conn) })
	case dial.Close:
		w.after(0, func() { a.ended(x.Conn) })
	}
}

func (a *agent) ended(id int) {
	delete(a.open, id)
	a.step(dial.Ended{Conn: id})
}

// connected counts the agents that have each instance exactly once.
func (w *world) connected() int {
	n := 0
	for _, a := range w.agents {
		var have []string
		for _, s := range a.d.Sessions() {
			have = append(have, s.Instance)
		}
		slices.Sort(have)
		if slices.Equal(have, slices.Sorted(slices.Values(w.instances))) {
			n++
		}
	}
	return n
}

// TestStorm: 5,000 agents lose their only gateway for eight seconds. All are
// back within 30 s of its return, and no second brings more than a third of
// them: each costs the gateway a handshake.
func TestStorm(t *testing.T) {
	const agents = 5000
	w := newWorld(t, 7, agents)
	w.add("g1")
	w.runTo(time.Minute)
	if n := w.connected(); n != agents {
		t.Fatalf("%d of %d agents connected after a minute", n, agents)
	}
	w.kill("g1")
	w.runTo(68 * time.Second)
	w.add("g1-new")
	back := 0
	for s := 69; s <= 98 && back == 0; s++ {
		w.runTo(time.Duration(s) * time.Second)
		if w.connected() == agents {
			back = s - 68
		}
	}
	worst := 0
	for s := 68; s < 98; s++ {
		worst = max(worst, w.dials[s])
	}
	t.Logf("all back %d s after the gateway; at most %d dials in a second", back, worst)
	if back == 0 || worst > agents/3 {
		t.Errorf("back after %d s (0: not within 30), at most %d dials in a second", back, worst)
	}
}

// TestLoss: one of three instances goes for good. Nobody loses the others, and
// the search for it costs the survivors little.
func TestLoss(t *testing.T) {
	const agents = 2000
	w := newWorld(t, 3, agents)
	for _, name := range []string{"g1", "g2", "g3"} {
		w.add(name)
	}
	w.runTo(10 * time.Minute)
	if n := w.connected(); n != agents {
		t.Fatalf("%d of %d agents have all three after ten minutes", n, agents)
	}
	w.kill("g2")
	w.runTo(20 * time.Minute)
	total := 0
	for s, n := range w.dials {
		if s >= 600 {
			total += n
		}
	}
	if n := w.connected(); n != agents || total > agents {
		t.Errorf("%d of %d agents have both; %d dials after the loss", n, agents, total)
	}
}

// TestLaws: whatever happens, an agent comes to have each instance exactly once
// when the gateways leave it in peace, and at no time more than it needs.
func TestLaws(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, seed, 3)
		at, n := time.Duration(0), 0
		for range 30 {
			at += time.Duration(w.random.IntN(90)) * time.Second
			w.runTo(at)
			a := w.agents[w.random.IntN(len(w.agents))]
			switch w.random.IntN(5) {
			case 0, 1:
				if len(w.instances) < 4 {
					n++
					w.add(fmt.Sprint("g", n))
				}
			case 2:
				if len(w.instances) > 1 {
					w.kill(w.instances[w.random.IntN(len(w.instances))])
				}
			case 3:
				had := a.d.Up()
				a.step(dial.Renewed{})
				if a.d.Up() < had {
					t.Errorf("seed %d: a session was given up before another was there", seed)
				}
			case 4:
				for _, id := range slices.Sorted(maps.Keys(a.open)) {
					a.ended(id)
				}
			}
		}
		w.runTo(at + time.Hour)
		if got := w.connected(); got != len(w.agents) {
			t.Errorf("seed %d: %d of %d agents have each of %v once; the first has %v", seed, got, len(w.agents), w.instances, w.agents[0].d.Sessions())
		}
		for _, a := range w.agents {
			if a.most > 12 { // four instances, two certificates, one more that is leaving
				t.Errorf("seed %d: %d connections at once", seed, a.most)
			}
		}
	}
}
