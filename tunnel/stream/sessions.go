// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// connsLimit is how many connections one node may have: two, and as many again
// while certificates change. The oldest goes when another one comes.
const connsLimit = 4

// SessionsOptions are what Sessions need. Allow and Now are required.
type SessionsOptions struct {
	Allow func(Target) error
	// Limits of each node.
	Limits Limits
	// Hello is what is told to everybody who connects; nil says nothing.
	Hello func() Hello
	// Done is told every stream's end, refusals included.
	Done func(Record)
	// Changed is told when a node's first connection came or its last one went,
	// and why. It must not wait.
	Changed func(s Session, up bool, why string)
	Now     func() time.Time
}

// Session is what is connected of one node.
type Session struct {
	Node    string    `json:"node"`
	UID     string    `json:"uid,omitempty"`
	Remote  string    `json:"remote"` // of the newest connection
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"` // of the certificate that lasts longest
	Conns   int       `json:"conns"`
	Streams int       `json:"streams"`
	// Bytes that streams of the living connections moved, both ways.
	Bytes  int64         `json:"bytes"`
	RTT    time.Duration `json:"rtt"` // the best; 0 while unknown
	Answer Answer        `json:"answer"`
}

// Sessions are the opener's end of all connections: the gateway's, by node, and
// likewise those to other gateways, by instance.
type Sessions struct {
	o SessionsOptions
	// courtesy is between the connections of all nodes.
	courtesy h2.Courtesy

	mu       sync.Mutex
	nodes    map[string]*node
	draining bool
}

// node is everything that one far end has, and counts against its limits.
type node struct {
	name   string
	gate   gate
	budget *h2.Budget

	// Guarded by the lock of Sessions.
	since  time.Time
	links  []*link // the newest last
	using  int     // calls that are at work with this entry
	answer Answer
}

// link is one connection of a node.
type link struct {
	conn *h2.Conn
	far  Far
	addr string
}

// NewSessions returns Sessions without any.
func NewSessions(o SessionsOptions) *Sessions {
	o.Limits = o.Limits.withDefaults()
	return &Sessions{o: o, nodes: map[string]*node{}}
}

// Serve runs an accepted connection until it ends, closes it, and says why it
// ended.
func (s *Sessions) Serve(ctx context.Context, conn net.Conn, far Far) error {
	n, l, err := s.join(conn, far)
	if err != nil {
		_ = conn.Close()
		return err
	}
	if s.o.Hello != nil {
		// It goes out after what Run says first, and is answered while Run reads.
		time.AfterFunc(0, func() { s.hello(ctx, n, l) })
	}
	err = l.conn.Run(ctx)
	s.leave(n, l, err)
	return err
}

// join takes a connection into the list.
func (s *Sessions) join(conn net.Conn, far Far) (*node, *link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, nil, refuse(CodeDraining, "this gateway is shutting down")
	}
	n := s.enter(far.Name)
	l := &link{far: far, addr: conn.RemoteAddr().String()}
	l.conn = h2.New(conn, h2.Options{Budget: n.budget, Ping: s.o.Limits.Ping, Courtesy: &s.courtesy, Now: s.o.Now})
	for _, old := range n.links {
		old.conn.Probe() // it may be dead, and this one come instead of it
	}
	n.links = append(n.links, l)
	for _, old := range n.links[:max(0, len(n.links)-connsLimit)] {
		go old.conn.End(refuse(CodeTooManyStreams, "the node has newer connections"))
	}
	if len(n.links) == 1 {
		n.since = s.o.Now()
		s.changed(n, true, "")
	}
	return n, l, nil
}

// enter finds or makes the entry of a node; every call needs one of exit.
func (s *Sessions) enter(name string) *node {
	n := s.nodes[name]
	if n == nil {
		n = &node{name: name, gate: gate{limits: s.o.Limits}, budget: s.o.Limits.budget()}
		s.nodes[name] = n
	}
	n.using++
	return n
}

func (s *Sessions) exit(n *node) {
	if n.using--; n.using == 0 {
		delete(s.nodes, n.name)
	}
}

func (s *Sessions) leave(n *node, l *link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.exit(n)
	last := s.session(n)
	n.links = slices.DeleteFunc(n.links, func(o *link) bool { return o == l })
	if len(n.links) == 0 && s.o.Changed != nil {
		s.o.Changed(last, false, err.Error())
	}
}

func (s *Sessions) changed(n *node, up bool, why string) {
	if s.o.Changed != nil {
		s.o.Changed(s.session(n), up, why)
	}
}

// hello tells the far end who this is, and keeps what it answers.
func (s *Sessions) hello(ctx context.Context, n *node, l *link) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	st, err := l.conn.Open(ctx, helloRequest)
	if err != nil {
		return // an acceptor that knows no hello is none the worse
	}
	defer st.Close()
	_ = st.SetDeadline(s.o.Now().Add(helloTime))
	var answer Answer
	if parseAnswer(st.Answer()) != nil || exchange(st, s.o.Hello(), &answer) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n.answer = answer.printable()
}

// Announce says Hello again to everybody, after it changed.
func (s *Sessions) Announce(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		for _, l := range n.links {
			go s.hello(ctx, n, l)
		}
	}
}

// Open opens a stream to a node that is connected here. The error is a
// *Refusal.
func (s *Sessions) Open(ctx context.Context, c Call) (Conn, error) {
	return s.OpenAt(ctx, c.Target.Node, c)
}

// OpenAt opens a stream on a connection of that far end, which passes it on:
// another gateway, by its instance name.
func (s *Sessions) OpenAt(ctx context.Context, far string, c Call) (Conn, error) {
	start := s.o.Now()
	st, err := s.open(ctx, far, c)
	if err != nil {
		r := asRefusal(ctx, err)
		s.done(Record{Call: c, Opened: start, Code: r.Code, Err: r})
		return nil, r
	}
	return st, nil
}

func (s *Sessions) open(ctx context.Context, far string, c Call) (Conn, error) {
	if err := s.o.Allow(c.Target); err != nil {
		return nil, err
	}
	start := s.o.Now()
	n, err := s.find(far)
	if err != nil {
		return nil, err
	}
	if err := n.gate.enter(start); err != nil {
		s.release(n, false)
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.o.Limits.Dial, errDialTime)
	defer cancel()
	st, err := s.try(ctx, n, c)
	if err == nil {
		if err = parseAnswer(st.Answer()); err != nil {
			_ = st.Close()
		}
	}
	if err != nil {
		s.release(n, true)
		return nil, err
	}
	st.OnEnd(func(err error) {
		s.release(n, true)
		t := st.Traffic()
		r := Record{Call: c, Opened: start, Sent: t.Sent, Received: t.Received, Stalled: t.Stalled, Code: CodeDone, Err: err}
		if err != nil {
			r.Code = CodeReset
		}
		s.done(r)
	})
	return st, nil
}

// find returns the entry of a node that is connected, for release.
func (s *Sessions) find(far string) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, refuse(CodeDraining, "this gateway is shutting down")
	}
	if n := s.nodes[far]; n != nil && len(n.links) > 0 {
		n.using++
		return n, nil
	}
	return nil, refuse(CodeNoSession, "%s is not connected to this gateway", printable(far))
}

func (s *Sessions) release(n *node, entered bool) {
	if entered {
		n.gate.leave()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exit(n)
}

// try opens the stream on the best connection, and on another one if that takes
// none at this moment.
func (s *Sessions) try(ctx context.Context, n *node, c Call) (*h2.Stream, error) {
	var tried []*link
	for {
		s.mu.Lock()
		l := place(slices.DeleteFunc(slices.Clone(n.links), func(l *link) bool { return slices.Contains(tried, l) }), s.o.Now())
		s.mu.Unlock()
		if l == nil {
			return nil, s.unplaced(n)
		}
		st, err := l.conn.Open(ctx, request(c))
		if !errors.Is(err, h2.ErrNotNow) {
			return st, err
		}
		tried = append(tried, l)
	}
}

// unplaced says why no connection of a node takes a stream.
func (s *Sessions) unplaced(n *node) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(n.links, func(l *link) bool { return l.conn.Load().Full }) {
		return refuse(CodeTooManyStreams, "the agent of %s takes no more streams", n.name)
	}
	return refuse(CodeNoSession, "%s is about to reconnect, or its certificate has expired", n.name)
}

// place chooses the connection for a new stream: one that answers before one
// that is being probed, one without a bulk stream before others, then the one
// with the fewest streams, then the newest. So whoever types stays clear of
// whoever copies, as far as one can tell: nothing says beforehand which of the
// two a stream is going to be.
func place(links []*link, now time.Time) *link {
	var best *link
	var least h2.Load
	for _, l := range slices.Backward(links) {
		if !l.conn.Usable() || !l.far.Expires.IsZero() && now.After(l.far.Expires) {
			continue
		}
		load := l.conn.Load()
		if best == nil || compare(load, least) < 0 {
			best, least = l, load
		}
	}
	return best
}

func compare(a, b h2.Load) int {
	return cmp.Or(before(a.Probed, b.Probed), before(a.Bulk, b.Bulk), cmp.Compare(a.Streams, b.Streams))
}

// before orders false before true.
func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

var errDialTime = errors.New("no answer in time")

// asRefusal makes a *Refusal of whatever Open ended with.
func asRefusal(ctx context.Context, err error) *Refusal {
	var r *Refusal
	var cut *h2.ResetError
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, errDialTime), errors.Is(err, context.DeadlineExceeded):
		return refuse(CodeDialTimeout, "the node's agent did not answer in time")
	case ctx.Err() != nil:
		return refuse(CodeReset, "the caller gave up: %v", err)
	case errors.As(err, &cut) && cut.Code == h2.CodeRefused:
		return refuse(CodeTooManyStreams, "the node's agent takes no more streams")
	}
	return refuse(CodeReset, "%v", err)
}

func (s *Sessions) done(r Record) {
	r.Took = s.o.Now().Sub(r.Opened)
	if s.o.Done != nil {
		s.o.Done(r)
	}
}

// CloseNode cuts everything of a node at once, for that reason.
func (s *Sessions) CloseNode(name, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[name]; n != nil {
		for _, l := range n.links {
			l.conn.End(errors.New(why))
		}
	}
}

// Drain opens no more streams and takes no more connections, waits for the
// streams that are open until ctx ends, and closes everything.
func (s *Sessions) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	var all sync.WaitGroup
	for _, n := range s.nodes {
		for _, l := range n.links {
			all.Go(func() { retire(ctx, l.conn) })
		}
	}
	s.mu.Unlock()
	all.Wait()
}

// List is every session, by name.
func (s *Sessions) List() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Session, 0, len(s.nodes))
	for _, n := range s.nodes {
		if len(n.links) > 0 {
			list = append(list, s.session(n))
		}
	}
	slices.SortFunc(list, func(a, b Session) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

// Has reports whether a node is connected here.
func (s *Sessions) Has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name]
	return n != nil && len(n.links) > 0
}

func (s *Sessions) session(n *node) Session {
	v := Session{Node: n.name, Since: n.since, Conns: len(n.links), Answer: n.answer}
	for _, l := range n.links {
		load := l.conn.Load()
		v.UID, v.Remote = l.far.UID, l.addr
		v.Streams += load.Streams
		v.Bytes += load.Bytes
		if v.RTT == 0 || load.RTT > 0 && load.RTT < v.RTT {
			v.RTT = load.RTT
		}
		if l.far.Expires.After(v.Expires) {
			v.Expires = l.far.Expires
		}
	}
	return v
}
