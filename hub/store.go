// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
)

var (
	// ErrNotReady is returned while nothing is known of a kind, neither from the
	// API server nor from disk, or the Place is not. See Store.Wait.
	ErrNotReady = errors.New("nothing is known yet")
	// ErrGone is returned for a version that is older than the journal goes back
	// or of another process: the reader must list again.
	ErrGone = errors.New("version is too old")
	// ErrTooNew is returned for a version that does not exist yet.
	ErrTooNew = errors.New("version is too new")
)

// Options are what a Store is made of.
type Options struct {
	// Node is the name of the own node.
	Node string
	// Config is how to reach the API server; nil for a Store that is filled
	// through Into only.
	Config *rest.Config
	// Log must be set.
	Log *slog.Logger
	// Now must be set. Its first value is the start of this process's versions.
	Now func() time.Time
	// Dir is where the last truth is kept for a start without an API server;
	// "" keeps none. It must exist.
	Dir string
	// Cluster names the cluster: a truth on disk under another name is not used.
	Cluster string
	// Window is how many events of a kind are kept at least; 0 means 2048. As
	// many as there are objects are kept in any case, so that a change of all
	// of them at once is no reason to list again.
	Window int
	// Note, which may be nil, is called for a Service whose topology annotation
	// says nothing known, once for each value. It must not call the Store.
	Note func(*corev1.Service, plan.Note)
}

// Store keeps the truth and what is shown of it. All methods may be called at
// any time from any goroutine.
type Store struct {
	o Options
}

// New returns a Store that knows nothing yet.
func New(o Options) *Store { return &Store{o: o} }

// Run keeps the truth up to date until ctx ends, and on disk what is newest of
// it. It returns an error only when it cannot begin.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Place says where the node stands. It is called before anything that depends
// on it is shown, and again whenever a node or a pool may have moved; PoolOf
// must go on giving the same answers afterwards. Everything affected is
// filtered again before it returns.
func (s *Store) Place(topology.Place) {}

// Into returns where a reflector puts what it reads of a kind. Run's reflectors
// use it; so does whoever fills a Store by hand.
func (s *Store) Into(Kind) cache.ReflectorStore { return nil }

// List returns everything of a kind, sorted by namespace and name, and the
// version at which that was so. The slice is shared: it must not be changed.
func (s *Store) List(Kind) ([]Item, uint64, error) { return nil, 0, ErrNotReady }

// Get returns one object as this node sees it, nil if it sees none. Other than
// in List its resourceVersion is the API server's own, so that what is read can
// be written back.
func (s *Store) Get(_ Kind, _, _ string) (Object, error) { return nil, ErrNotReady }

// Watch returns the events of a kind after a version. It returns ErrGone,
// ErrTooNew or ErrNotReady.
func (s *Store) Watch(Kind, uint64) (*Watch, error) { return nil, ErrNotReady }

// Follow is List and Watch in one step: the Watch goes on from the list.
func (s *Store) Follow(Kind) ([]Item, uint64, *Watch, error) { return nil, 0, nil, ErrNotReady }

// Wait returns when List of a kind would not return ErrNotReady, or with the
// error of ctx.
func (s *Store) Wait(ctx context.Context, _ Kind) error {
	<-ctx.Done()
	return ctx.Err()
}

// Online reports whether the API server answers. It is false until it has.
func (s *Store) Online() bool { return false }

// LastHeard returns when the API server last said anything; zero: never.
func (s *Store) LastHeard() time.Time { return time.Time{} }

// Stats returns figures of every kind, in the order of Kinds.
func (s *Store) Stats() []Stats { return nil }

// Stats are figures of one kind.
type Stats struct {
	Kind Kind
	// Objects are in the truth, Shown are those that this node sees.
	Objects, Shown int
	// Ready means that List answers; Stale, that it does so from disk.
	Ready, Stale bool
	// Watchers are the Watches that are not closed.
	Watchers int
	// Events were made, and Gone readers told to list again, since the start.
	Events, Gone uint64
	// Heard is when the API server last said anything about this kind.
	Heard time.Time
}
