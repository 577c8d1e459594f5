// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"cmp"
	"slices"
	"time"
)

// wanted are the instances that live connections speak of, sorted.
func (d *Dialler) wanted() []string {
	var out []string
	for _, c := range d.conns {
		if c.state == up {
			out = append(append(out, c.instance), c.instances...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// need is how many connections an instance shall have. Those that still drain
// count as the second one: a gateway cuts the oldest of more than four.
func (d *Dialler) need(instance string) int {
	for _, c := range d.conns {
		if c.state == leaving && c.instance == instance {
			return 1
		}
	}
	if last, ever := d.busy[instance]; ever && d.now.Sub(last) < quiet || d.streams(instance) > 0 {
		return 2
	}
	return 1
}

func (d *Dialler) streams(instance string) int {
	n := 0
	for _, c := range d.conns {
		if c.state == up && c.instance == instance {
			n += c.streams
		}
	}
	return n
}

// fresh reports whether a connection may stay: it has the newest certificate,
// goes to a published address, and by the best way known.
func (d *Dialler) fresh(c *conn) bool {
	a := d.addrs[c.addr]
	return c.state == up && c.era == d.era && a != nil && (c.via == "" || c.via == a.via)
}

// serving are the fresh connections to an instance, by number.
func (d *Dialler) serving(instance string) []*conn {
	return slices.DeleteFunc(d.sorted(), func(c *conn) bool { return c.instance != instance || !d.fresh(c) })
}

// lacking are the instances that have fewer connections than they need.
func (d *Dialler) lacking() []string {
	return slices.DeleteFunc(d.wanted(), func(i string) bool { return len(d.serving(i)) >= d.need(i) })
}

// replace drains what is not fresh once something serves in its stead.
func (d *Dialler) replace() {
	anyFresh := slices.ContainsFunc(d.sorted(), d.fresh)
	for _, c := range d.sorted() {
		if c.state != up || d.fresh(c) {
			continue
		}
		switch {
		case d.addrs[c.addr] == nil && anyFresh:
			d.drain(c, "the address is no longer published")
		case len(d.serving(c.instance)) == 0: // nobody yet
		case c.era != d.era:
			d.drain(c, "the certificate has been renewed")
		default:
			d.drain(c, "there is a way without relay")
		}
	}
}

// thin drains what an instance does not need any more, the youngest first.
func (d *Dialler) thin() {
	for _, instance := range d.wanted() {
		have := d.serving(instance)
		for surplus := len(have) - d.need(instance); surplus > 0; surplus-- {
			c := have[len(have)-1]
			have = have[:len(have)-1]
			d.drain(c, "no streams for a while")
		}
	}
}

func (d *Dialler) leaveAll() {
	for _, c := range d.sorted() {
		switch c.state {
		case up:
			d.drain(c, "the tunnel is switched off")
		case dialling:
			d.leave(c)
			d.out = append(d.out, Close{c.id, "the tunnel is switched off"})
		case leaving:
		}
	}
}

func (d *Dialler) drain(c *conn, why string) {
	d.leave(c)
	d.out = append(d.out, Drain{c.id, why})
}

func (d *Dialler) leave(c *conn) { c.state, c.since = leaving, d.now }

// dialAll dials every address that has a reason to be dialled and whose time
// has come.
func (d *Dialler) dialAll() {
	for _, a := range d.ordered() {
		reason := d.reason(a)
		switch {
		case d.inFlight(a.name) > 0:
		case reason != none && !d.now.Before(a.next) && (reason != search || d.maySearch()):
			d.dial(a, d.way(a), false)
		case d.relayed(a) && !d.now.Before(a.straight):
			d.dial(a, "", true)
		}
	}
}

// relayed reports whether a session at the address goes through a relay.
func (d *Dialler) relayed(a *address) bool {
	return slices.ContainsFunc(d.sorted(), func(c *conn) bool { return c.addr == a.name && c.via != "" && d.fresh(c) })
}

// reason is why an address should be dialled.
type reason byte

const (
	none   reason = iota
	lost          // nobody whom we know to be there is connected
	known         // somebody who lacks a connection has answered here before
	search        // somebody has no connection at all and may be here
)

func (d *Dialler) reason(a *address) reason {
	covered := false
	for i := range a.shown {
		covered = covered || len(d.serving(i)) > 0
	}
	if !covered {
		return lost
	}
	lacking := d.lacking()
	if slices.ContainsFunc(lacking, func(i string) bool { return a.shown[i] }) {
		return known
	}
	if slices.ContainsFunc(lacking, func(i string) bool { return len(d.serving(i)) == 0 }) {
		return search
	}
	return none
}

// maySearch lets one search run at a time, and none before every address has
// been tried: whom we look for is most likely behind one of those.
func (d *Dialler) maySearch() bool {
	if d.now.Before(d.searchAt) {
		return false
	}
	for _, a := range d.addrs {
		if d.inFlight(a.name) > 0 || len(a.shown) == 0 && a.failures == 0 {
			return false
		}
	}
	return true
}

func (d *Dialler) inFlight(addr string) int {
	n := 0
	for _, c := range d.conns {
		if c.addr == addr && c.state == dialling {
			n++
		}
	}
	return n
}

// way goes round: the way that worked last, then the others.
func (d *Dialler) way(a *address) string {
	ways := append([]string{""}, d.relays...)
	at := max(slices.Index(ways, a.via), 0)
	return ways[(at+a.failures)%len(ways)]
}

func (d *Dialler) dial(a *address, via string, trial bool) {
	d.last++
	d.conns[d.last] = &conn{id: d.last, addr: a.name, via: via, era: d.era, trial: trial, since: d.now}
	d.out = append(d.out, Dial{d.last, a.name, via})
}

// Next is when Step wants a Tick although nothing happens; zero if never.
func (d *Dialler) Next() time.Time {
	var next time.Time
	at := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, c := range d.conns {
		if c.state == dialling {
			at(c.since.Add(greetingLimit))
		}
	}
	if d.stopping || len(d.addrs) == 0 || d.era == 0 {
		return next
	}
	for instance, last := range d.busy {
		if d.streams(instance) == 0 && len(d.serving(instance)) > 1 {
			at(last.Add(quiet))
		}
	}
	for _, a := range d.addrs {
		if d.inFlight(a.name) > 0 {
			continue
		}
		switch r := d.reason(a); {
		case r == lost || r == known:
			at(a.next)
		case r == search && d.now.Before(d.searchAt):
			at(d.searchAt)
		case r == search && d.maySearch():
			at(a.next)
		}
		if d.relayed(a) {
			at(a.straight)
		}
	}
	return next
}

// Up is how many connections serve.
func (d *Dialler) Up() int {
	return len(slices.DeleteFunc(d.sorted(), func(c *conn) bool { return c.state != up }))
}

// Session is one connection that serves, for people.
type Session struct {
	Conn                int
	Instance, Addr, Via string
	Since               time.Time
	Streams             int
}

// Sessions are the connections that serve, by instance.
func (d *Dialler) Sessions() []Session {
	var out []Session
	for _, c := range d.sorted() {
		if c.state == up {
			out = append(out, Session{c.id, c.instance, c.addr, c.via, c.since, c.streams})
		}
	}
	slices.SortStableFunc(out, func(a, b Session) int { return cmp.Compare(a.Instance, b.Instance) })
	return out
}
