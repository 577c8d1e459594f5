// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/magpie-edge/magpie/cni/shim"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// Door is what the server asks of the kernel beside plans. *kernel.Host has it.
type Door interface {
	// PodSpace reports whether netns is a network namespace; that it is the
	// host's own is an error.
	PodSpace(netns string) (alive bool, err error)
	// PodDevice reports whether netns has a device called name.
	PodDevice(netns, name string) (there bool, err error)
	// ForgetFlows removes conntrack entries whose original destination is
	// proto and port, at addr or, if addr is zero, at any address.
	ForgetFlows(ctx context.Context, proto string, addr netip.Addr, port uint16) error
}

// Config is what a Server needs. All but Report and Wake are required.
type Config struct {
	// View returns what is known of the fleet; false until anything is.
	View func() (fleet.View, bool)
	// World is the part of the kernel that carries Owner's mark. It must look
	// into Server.Namespaces and at Server.Settings, and be safe for
	// concurrent use.
	World  reconcile.World[plan.Plan]
	Door   Door
	Ledger *Ledger
	Now    func() time.Time
	// Report hears of every call once it is answered, and of what the server
	// does by itself ("RECOVER", "COLLECT"). It must not block.
	Report func(Done)
	// Wake asks the repair loop for a round.
	Wake func()
}

// Done is one finished call.
type Done struct {
	Verb string
	Pod  Pod // as far as known
	Took time.Duration
	Code uint  // CNI error code; 0 is success
	Err  error // nil on success
}

// Server does what the verbs of CNI ask. Safe for concurrent use.
type Server struct {
	cfg  Config
	keys keyLocks

	// gate lets verbs in together and repair rounds alone.
	gate sync.RWMutex

	mu      sync.Mutex
	touched map[Key]Pod        // by verbs since the last repair round
	adopted map[string]adoptee // by host device: pods the ledger lost
	looked  time.Time          // when a round last looked at the kernel
	shared  struct {           // what the node has for all of its pods, see common
		view fleet.View
		plan plan.Plan
	}

	recovered atomic.Bool // Recover has seen the kernel
}

// NewServer returns a Server. Until Recover has succeeded it refuses calls, and
// Desire says reconcile.ErrNotReady: pods that are not known yet must not be
// taken for pods that are not wanted.
func NewServer(cfg Config) *Server {
	if cfg.Report == nil {
		cfg.Report = func(Done) {}
	}
	if cfg.Wake == nil {
		cfg.Wake = func() {}
	}
	return &Server{cfg: cfg, touched: map[Key]Pod{}, adopted: map[string]adoptee{}}
}

// Handle answers one call. It is the Handle of a socket.Server.
func (s *Server) Handle(ctx context.Context, call shim.Request) shim.Response {
	start := s.cfg.Now()
	r, bad := parse(call)
	var out json.RawMessage
	var err error
	pod := Pod{Key: r.key, NetNS: r.netns, Namespace: r.args["K8S_POD_NAMESPACE"], Name: r.args["K8S_POD_NAME"]}
	if bad != nil {
		err = bad
	} else {
		out, pod, err = s.serve(ctx, r, pod)
	}
	s.report(call.Command, pod, start, err)
	return response(r.config.CNIVersion, out, err)
}

// Undelivered undoes an ADD whose runtime will never hear of it. It is the
// Undelivered of a socket.Server.
func (s *Server) Undelivered(call shim.Request, answer shim.Response) {
	if call.Command == "ADD" && answer.Exit == 0 {
		call.Command = "DEL"
		s.Handle(context.Background(), call)
	}
}

func (s *Server) report(verb string, pod Pod, start time.Time, err error) {
	done := Done{Verb: verb, Pod: pod, Took: s.cfg.Now().Sub(start), Err: err}
	if err != nil {
		done.Code = types.ErrInternal
		if e, ok := errors.AsType[*Error](err); ok {
			done.Code = e.Code
		}
	}
	s.cfg.Report(done)
}

func (s *Server) serve(ctx context.Context, r request, pod Pod) (json.RawMessage, Pod, error) {
	if !s.recovered.Load() && r.verb != "STATUS" {
		return nil, pod, refuse(types.ErrTryAgainLater, "the magpie agent is starting and has not looked at this node's pods yet")
	}
	switch r.verb {
	case "STATUS":
		return nil, pod, s.status()
	case "GC":
		return nil, pod, s.gc(ctx, r)
	}
	unlock, err := s.keys.lock(ctx, r.key)
	if err != nil {
		return nil, pod, refuse(types.ErrTryAgainLater, "another call for %s is still being worked on", r.key).because(err)
	}
	defer unlock()
	switch r.verb {
	case "ADD":
		return s.add(ctx, r)
	case "CHECK":
		return nil, pod, s.check(ctx, r)
	default:
		return nil, pod, s.del(r)
	}
}

// status looks at memory only: runtimes ask every five seconds. It speaks of
// new pods alone. The code for limited connectivity (51) makes containerd
// declare the node NotReady, and its pods are evicted: that must not be the
// answer to an overlay or a link in trouble, which conditions report.
// Source: CNI specification 1.1.0, "STATUS".
func (s *Server) status() error {
	view, ok := s.cfg.View()
	if !ok || !s.recovered.Load() {
		return refuse(types.ErrPluginNotAvailable,
			"the magpie agent has not heard of this node yet; see its log and whether it reaches the API server")
	}
	if len(view.Self.PodCIDRs) == 0 {
		return refuse(types.ErrPluginNotAvailable,
			"node %s has no pod CIDR; kube-controller-manager assigns one with --allocate-node-cidrs", view.Self.Node)
	}
	if !s.cfg.Ledger.HasFree(view.Self.PodCIDRs) {
		return refuse(types.ErrPluginNotAvailable,
			"no address is left in %s; delete pods or give the node a larger pod CIDR", list(view.Self.PodCIDRs))
	}
	return nil
}

// keyLocks is a lock a key, made when wanted and dropped when not.
type keyLocks struct {
	mu   sync.Mutex
	held map[Key]*keyLock
}

type keyLock struct {
	turn  chan struct{} // holds one token while the lock is taken
	users int           // holding or waiting
}

// lock waits for the key or the end of ctx.
func (l *keyLocks) lock(ctx context.Context, key Key) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[Key]*keyLock{}
	}
	k := l.held[key]
	if k == nil {
		k = &keyLock{turn: make(chan struct{}, 1)}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
	}
	select {
	case k.turn <- struct{}{}:
		return func() { <-k.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
