// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// ServerOptions are what a Server needs. Dial, Allow and Now are required.
type ServerOptions struct {
	// Name of the own node; streams meant for another are refused. Empty at the
	// acceptor of a gateway's connection, where Dial decides.
	Name string
	// Dial reaches a target that is allowed. Its *Refusal travels back; the
	// context ends after nine tenths of Limits.Dial, so that the answer arrives
	// before the gateway gives up.
	Dial  func(context.Context, Call) (net.Conn, error)
	Allow func(Target) error
	// Limits of everything this Server carries.
	Limits Limits
	// Done is told every stream's end, refusals included.
	Done func(Record)
	// OnBusy is called for each stream that is going to be dialled; it must not
	// wait. An agent dials another connection then.
	OnBusy func()
	// Left is told, once a connection, that the gateway at its other end is
	// shutting down and opens no more streams on it; it must not wait.
	Left func(net.Conn)
	// Hello is told what a gateway says of itself, with the connection that
	// Serve was given, and returns the answer.
	Hello func(net.Conn, Hello) Answer
	Now   func() time.Time
}

// Server is the acceptor's end of connections: the agent's, and that of a
// gateway whom another one asks.
type Server struct {
	o      ServerOptions
	budget *h2.Budget
	gate   gate
	// courtesy is between all connections.
	courtesy h2.Courtesy

	mu       sync.Mutex
	conns    map[net.Conn]*h2.Conn
	draining bool
}

// NewServer returns a Server without connections.
func NewServer(o ServerOptions) *Server {
	o.Limits = o.Limits.withDefaults()
	return &Server{
		o: o, budget: o.Limits.budget(), gate: gate{limits: o.Limits},
		conns: map[net.Conn]*h2.Conn{},
	}
}

// Serve runs a connection until it ends, closes it, and says why it ended. May
// be called many times at once.
func (s *Server) Serve(ctx context.Context, conn net.Conn) error {
	// Streams end with their connection; only what ends this call ends it early.
	c := h2.New(conn, h2.Options{
		Accept:   func(st *h2.Stream) { s.accept(ctx, conn, st) },
		Streams:  s.o.Limits.Streams,
		Budget:   s.budget,
		Courtesy: &s.courtesy,
		Ping:     s.o.Limits.Ping,
		Left: func() {
			if s.o.Left != nil {
				s.o.Left(conn)
			}
		},
		Now: s.o.Now,
	})
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		_ = conn.Close()
		return refuse(CodeDraining, "this end is shutting down")
	}
	s.conns[conn] = c
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}()
	return c.Run(ctx)
}

// Retire lets no more streams begin on a connection and closes it after its
// last one, or when ctx ends: for a connection that another one replaces.
func (s *Server) Retire(ctx context.Context, conn net.Conn) {
	s.mu.Lock()
	c := s.conns[conn]
	s.mu.Unlock()
	if c != nil {
		retire(ctx, c)
	}
}

func retire(ctx context.Context, c *h2.Conn) {
	c.Leave(ctx)
	c.End(refuse(CodeDraining, "the connection was retired"))
}

// Drain retires every connection and takes no new one. It returns when all are
// closed.
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	var all sync.WaitGroup
	for _, c := range s.conns {
		all.Go(func() { retire(ctx, c) })
	}
	s.mu.Unlock()
	all.Wait()
}

// Streams is how many streams are open, on how many connections.
func (s *Server) Streams() (streams, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		streams += c.Load().Streams
	}
	return streams, len(s.conns)
}

// Load is how many streams are open on a connection that Serve was given.
func (s *Server) Load(conn net.Conn) int {
	s.mu.Lock()
	c := s.conns[conn]
	s.mu.Unlock()
	if c == nil {
		return 0
	}
	return c.Load().Streams
}

// accept handles one stream.
func (s *Server) accept(ctx context.Context, conn net.Conn, st *h2.Stream) {
	if isHello(st.Request()) {
		s.hello(conn, st)
		return
	}
	start := s.o.Now()
	call, err := parseRequest(st.Request())
	if err == nil {
		err = s.gate.enter(start)
	}
	if err != nil {
		s.refuse(st, Record{Call: call, Opened: start}, err)
		return
	}
	defer s.gate.leave()
	far, err := s.dial(ctx, st, call)
	if err != nil {
		s.refuse(st, Record{Call: call, Opened: start}, err)
		return
	}
	if err := st.Respond(h2.Fields(":status", "200"), false); err != nil {
		cut(far)
		s.done(Record{Call: call, Opened: start, Code: CodeReset, Err: err})
		return
	}
	_, _, err = Splice(ctx, st, closeWriter(far), s.o.Now)
	moved := st.Traffic()
	r := Record{Call: call, Opened: start, Sent: moved.Received, Received: moved.Sent, Stalled: moved.Stalled, Code: CodeDone}
	if err != nil {
		r.Code, r.Err = CodeReset, err
	}
	s.done(r)
}

// dial checks and reaches a target. It stops when the gateway gives up.
func (s *Server) dial(ctx context.Context, st *h2.Stream, call Call) (net.Conn, error) {
	if s.o.Name != "" && call.Target.Node != s.o.Name {
		return nil, refuse(CodeWrongNode, "meant for node %s, and this is %s", call.Target.Node, s.o.Name)
	}
	if err := s.o.Allow(call.Target); err != nil {
		return nil, err
	}
	if s.o.OnBusy != nil {
		s.o.OnBusy()
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Limits.Dial/10*9)
	defer cancel()
	st.OnEnd(func(error) { cancel() })
	conn, err := s.o.Dial(ctx, call)
	var r *Refusal
	var late net.Error
	switch {
	case err == nil:
		return conn, nil
	case errors.As(err, &r):
		return nil, err
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		return nil, refuse(CodeDialTimeout, "%s did not answer: %v", call.Target, err)
	}
	return nil, refuse(CodeDialFailed, "%s: %v", call.Target, err)
}

func (s *Server) refuse(st *h2.Stream, r Record, err error) {
	_ = st.Respond(refusal(err), true)
	_ = st.Close()
	r.Code, r.Err = codeOf(err), err
	s.done(r)
}

func (s *Server) done(r Record) {
	r.Took = s.o.Now().Sub(r.Opened)
	if s.o.Done != nil {
		s.o.Done(r)
	}
}

func (s *Server) hello(conn net.Conn, st *h2.Stream) {
	defer st.Close()
	_ = st.SetDeadline(s.o.Now().Add(helloTime))
	if err := st.Respond(h2.Fields(":status", "200"), false); err != nil {
		return
	}
	var h Hello
	if err := hear(st, &h); err != nil {
		st.Reset(h2.CodeProtocol)
		return
	}
	answer := Answer{Node: s.o.Name}
	if s.o.Hello != nil {
		answer = s.o.Hello(conn, h)
	}
	_ = say(st, answer)
}

// codeOf is the code that an error is counted under.
func codeOf(err error) Code {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Code
	}
	return CodeDialFailed
}

// closeWriter makes a Conn of what Dial returned. One that can not close a
// single direction is cut off at the end of both.
func closeWriter(c net.Conn) Conn {
	if w, ok := c.(Conn); ok {
		return w
	}
	return whole{c}
}

type whole struct{ net.Conn }

func (whole) CloseWrite() error { return nil }
