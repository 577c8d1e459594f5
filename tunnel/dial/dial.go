// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// firstWait and lastWait bound the window after a failure.
	firstWait, lastWait = time.Second, 30 * time.Second
	// lastSearch bounds the window while an address keeps showing instances that
	// we have: each try costs a gateway a handshake.
	lastSearch = 5 * time.Minute
	// calm is the window in which a change that all agents hear is followed by
	// those that have a session: nothing is lost meanwhile.
	calm = 5 * time.Second
	// greetingLimit is how long a dial may take until the greeting.
	greetingLimit = 20 * time.Second
	// lasting is how long a session must live for its address to be good.
	lasting = 30 * time.Second
	// firstStraight and lastStraight bound the window between tries without
	// relay.
	firstStraight, lastStraight = 30 * time.Second, 10 * time.Minute
	// quiet is how long a second connection is kept without streams.
	quiet = 5 * time.Minute
	// maxInstances bounds what we believe of a greeting.
	maxInstances = 64
)

// Dialler is the state machine. It is not safe for concurrent use.
type Dialler struct {
	random   func() float64
	now      time.Time
	addrs    map[string]*address
	relays   []string
	conns    map[int]*conn
	last     int                  // number of the latest connection
	era      int                  // counts certificates; 0: none yet
	busy     map[string]time.Time // by instance: when streams were last seen
	searchAt time.Time            // no search before
	stopping bool
	out      []Action
}

// address is one published address.
type address struct {
	name     string
	failures int             // in a row, without a lasting session between
	since    time.Time       // of the first of them
	repeats  int             // in a row: who answered was connected already
	next     time.Time       // no dial before
	shown    map[string]bool // instances that have answered here
	via      string          // the way that worked last: "" or a relay
	straight time.Time       // when to try without relay; counts if via is not ""
	tries    int             // how often that has failed in a row
}

type state byte

const (
	dialling state = iota // not greeted yet
	up
	leaving // drained or closed by us, not ended yet
)

// conn is one connection.
type conn struct {
	id        int
	addr, via string
	era       int
	trial     bool // dialled only to see whether it works without relay
	state     state
	since     time.Time // when state became what it is
	instance  string
	instances []string
	streams   int
}

// New makes a Dialler; random returns a number from 0 up to, not including, 1.
func New(random func() float64) *Dialler {
	return &Dialler{random: random, addrs: map[string]*address{}, conns: map[int]*conn{}, busy: map[string]time.Time{}}
}

// Step takes one event and returns what to do, in that order.
func (d *Dialler) Step(now time.Time, e Event) []Action {
	d.now, d.out = now, nil
	switch e := e.(type) {
	case Addresses:
		d.publish(e.List)
	case Relays:
		d.relays = slices.Clone(e.List)
	case Renewed:
		d.era++
		d.spread(d.window())
	case Greeted:
		d.greet(e)
	case Streams:
		if c := d.conns[e.Conn]; c != nil && c.state == up {
			if c.streams > 0 || e.Count > 0 {
				d.busy[c.instance] = now
			}
			c.streams = e.Count
		}
	case Left:
		if c := d.conns[e.Conn]; c != nil && c.state == up {
			d.leave(c)
			d.failed(c, true)
		}
	case Ended:
		d.end(e.Conn)
	case Stop:
		d.stopping = true
	case Tick:
	}
	d.settle()
	return d.out
}

// settle does what the state asks for: after every event, whichever it was.
func (d *Dialler) settle() {
	d.overdue()
	if d.stopping || len(d.addrs) == 0 {
		d.leaveAll()
		return
	}
	d.replace()
	d.thin()
	if d.era > 0 {
		d.dialAll()
	}
}

// publish follows the list of addresses.
func (d *Dialler) publish(list []string) {
	maps.DeleteFunc(d.addrs, func(name string, _ *address) bool { return !slices.Contains(list, name) })
	for _, name := range list {
		if d.addrs[name] == nil {
			d.addrs[name] = &address{name: name, next: d.now.Add(d.jitter(d.window())), shown: map[string]bool{}}
		}
	}
}

// greet takes a greeting, the first one of a connection or a later one.
func (d *Dialler) greet(e Greeted) {
	c := d.conns[e.Conn]
	if c == nil || c.state == leaving {
		return
	}
	before := d.wanted()
	first := c.state == dialling
	c.instance = e.Instance
	c.instances = slices.Clone(e.Instances[:min(len(e.Instances), maxInstances)])
	a := d.addrs[c.addr]
	if first {
		c.state, c.since = up, d.now
		if a != nil {
			d.answered(a, c)
		}
	}
	if !first && slices.ContainsFunc(d.wanted(), func(name string) bool { return !slices.Contains(before, name) }) {
		d.spread(calm)
		if slices.ContainsFunc(d.ordered(), func(a *address) bool { return d.reason(a) == lost }) {
			d.searchAt = d.now.Add(calm) // most likely it is there
		}
	}
	if first && d.fresh(c) && len(d.serving(c.instance)) > d.need(c.instance) {
		d.drain(c, "this instance is connected already")
		// A balancer shows one of n at a time: n tries in each window.
		a.next = d.now.Add(d.jitter(backoff(a.repeats/max(len(c.instances), 1), firstWait, lastSearch)))
		a.repeats++
	}
}

// answered notes what a first greeting says about its address.
func (d *Dialler) answered(a *address, c *conn) {
	maps.DeleteFunc(a.shown, func(name string, _ bool) bool { return !slices.Contains(c.instances, name) })
	if !a.shown[c.instance] || len(d.serving(c.instance)) <= d.need(c.instance) {
		a.repeats = 0
	}
	a.shown[c.instance] = true
	if a.via != c.via && c.via != "" {
		a.tries = 0
		a.straight = d.now.Add(d.jitter(firstStraight))
	}
	a.via = c.via
	a.next = d.now.Add(d.jitter(firstWait))
}

// end takes the end of a connection or of a dial.
func (d *Dialler) end(id int) {
	c := d.conns[id]
	if c == nil {
		return
	}
	delete(d.conns, id)
	if len(d.serving(c.instance)) == 0 {
		delete(d.busy, c.instance)
	}
	if c.state != leaving {
		d.failed(c, c.state == up && d.now.Sub(c.since) >= lasting)
	}
}

// failed takes what was not meant to end. It lasted if the address is good.
func (d *Dialler) failed(c *conn, lasted bool) {
	a := d.addrs[c.addr]
	switch {
	case a == nil:
	case c.trial && c.state == dialling:
		a.tries++
		a.straight = d.now.Add(d.jitter(backoff(a.tries, firstStraight, lastStraight)))
	case lasted:
		a.failures, a.repeats = 0, 0
		a.next = d.now.Add(d.jitter(d.window()))
		d.searchAt = d.now.Add(d.jitter(lastWait)) // every agent may have lost it
	default:
		if a.failures++; a.failures == 1 {
			a.since = c.since
		}
		window := firstWait
		if a.failures%(1+len(d.relays)) == 0 { // no way works
			// As long as it has been failing. Counting would let the lucky ones,
			// who dialled often, wait 30 s after an outage of five.
			window = min(max(d.now.Sub(a.since), firstWait), d.patience())
		}
		a.next = d.now.Add(d.jitter(window))
	}
}

// overdue ends dials that nobody greets.
func (d *Dialler) overdue() {
	for _, c := range d.sorted() {
		if c.state == dialling && d.now.Sub(c.since) >= greetingLimit {
			d.failed(c, false)
			d.leave(c)
			d.out = append(d.out, Close{c.id, "no greeting"})
		}
	}
}

// window is how far dials are spread: agents that have a session can wait.
func (d *Dialler) window() time.Duration {
	if d.Up() > 0 {
		return calm
	}
	return firstWait
}

// patience is the longest window. Where every instance that is known of has its
// connection, an address that does not answer has most likely nobody behind it:
// who comes there later is named by the others.
func (d *Dialler) patience() time.Duration {
	if d.Up() > 0 && len(d.lacking()) == 0 {
		return lastSearch
	}
	return lastWait
}

// spread moves the next dials to a random moment within the window, because
// every agent does the same now.
func (d *Dialler) spread(window time.Duration) {
	for _, a := range d.ordered() {
		a.repeats = 0
		a.next = d.now.Add(d.jitter(window))
	}
}

func (d *Dialler) jitter(window time.Duration) time.Duration {
	return time.Duration(d.random() * float64(window))
}

// backoff is the window when it has doubled n times.
func backoff(n int, first, last time.Duration) time.Duration {
	return min(first<<min(n, 16), last)
}

func (d *Dialler) ordered() []*address {
	return slices.SortedFunc(maps.Values(d.addrs), func(a, b *address) int { return cmp.Compare(a.name, b.name) })
}

func (d *Dialler) sorted() []*conn {
	return slices.SortedFunc(maps.Values(d.conns), func(a, b *conn) int { return cmp.Compare(a.id, b.id) })
}
