// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

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

// defaultWindow is how many events of a kind are kept if nobody says: a few
// minutes of a large cluster's ordinary changes.
const defaultWindow = 2048

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
	// Begin are the kinds to keep from the start, the others from when they are
	// first asked for. nil: Services and EndpointSlices, and the own Node, which
	// says how much of them to believe.
	Begin []Kind
	// Note, which may be nil, is called for a Service whose topology annotation
	// says nothing known, once for each value, and again a minute later if that
	// comes back. It must return soon.
	Note func(*corev1.Service, plan.Note)
	// Changed, which may be nil, is called when Services would return something
	// else than before, perhaps once for several changes. It must return at once.
	Changed func()
}

// Store keeps the truth and what is shown of it. All methods may be called at
// any time from any goroutine.
type Store struct {
	o    Options
	line *line
	wake chan struct{} // tells Run that a kind is wanted

	mu      sync.Mutex
	version uint64 // of the last event
	shelves map[Kind]*shelf
	place   topology.Place // its PoolOf is Store.poolOf
	placed  bool
	// pools are the answers of poolOf at this place, to compare with those at
	// the next.
	pools  map[string]string
	poolOf func(string) string
	// slices are the EndpointSlices of each Service.
	slices map[key]map[key]struct{}
	notes  []noted // for Options.Note when mu is free
	// doubting is set while reconsider will be called.
	doubting bool
	moved    bool // a Service has changed: for Options.Changed when mu is free
	// told is when each note was handed out last, by Service and text.
	told map[string]time.Time
}

const (
	// tellAgain is how soon the same note may be handed out again: a Service that
	// somebody switches to and fro must not fill logs.
	tellAgain = time.Minute
	toldMost  = 4096
)

// noted is a note on a Service.
type noted struct {
	service *corev1.Service
	note    plan.Note
}

// New returns a Store that knows nothing yet.
func New(o Options) *Store {
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	if o.Begin == nil {
		o.Begin = []Kind{Services, EndpointSlices, Nodes}
	}
	s := &Store{
		o: o, line: newLine(o), wake: make(chan struct{}, 1),
		// Milliseconds leave room for a million events each before two processes
		// could give the same number to different things.
		version: uint64(max(0, o.Now().UnixMilli())) << 20,
		shelves: map[Kind]*shelf{}, pools: map[string]string{}, slices: map[key]map[key]struct{}{},
		told: map[string]time.Time{},
	}
	for _, k := range Kinds() {
		s.shelves[k] = newShelf(k, slices.Contains(o.Begin, k))
	}
	return s
}

// unlock ends a change: who waits for news is woken, and notes are handed out.
func (s *Store) unlock() {
	for _, sh := range s.shelves {
		sh.journal.ring()
	}
	notes, moved := s.notes, s.moved
	s.notes, s.moved = nil, false
	s.mu.Unlock()
	if moved && s.o.Changed != nil {
		s.o.Changed()
	}
	for _, n := range notes {
		s.o.Note(n.service, n.note)
	}
}

// reading returns the shelf of a kind, and sees to it that somebody fills it.
// s.mu is held.
func (s *Store) reading(k Kind) (*shelf, error) {
	sh := s.shelves[k]
	if sh == nil {
		return nil, fmt.Errorf("kind %s is not kept", k.Name)
	}
	s.want(sh)
	if !sh.isReady {
		return sh, fmt.Errorf("%s: %w", k.Resource, ErrNotReady)
	}
	return sh, nil
}

// want sees to it that somebody fills the shelf. s.mu is held.
func (s *Store) want(sh *shelf) {
	if sh.wanted {
		return
	}
	sh.wanted = true
	select {
	case s.wake <- struct{}{}:
	default: // Run has not looked since the last one
	}
}

// Services returns all Services as the API server has them, fenced by nobody,
// sorted by namespace and name; ErrNotReady while nothing is known of them,
// neither from the API server nor from disk. They must not be changed.
func (s *Store) Services() ([]*corev1.Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shelves[Services]
	s.want(sh)
	if !sh.known {
		return nil, fmt.Errorf("%s: %w", Services.Resource, ErrNotReady)
	}
	out := make([]*corev1.Service, 0, len(sh.objects))
	for _, o := range sh.truths() {
		if svc, ok := o.(*corev1.Service); ok {
			out = append(out, svc)
		}
	}
	return out, nil
}

// List returns everything of a kind, sorted by namespace and name, and the
// version at which that was so. The slice is shared: it must not be changed.
func (s *Store) List(k Kind) ([]Item, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.reading(k)
	if err != nil {
		return nil, 0, err
	}
	return sh.items(), s.version, nil
}

// Get returns one object as this node sees it, nil if it sees none. Other than
// in List its resourceVersion is the API server's own, so that what is read can
// be written back.
func (s *Store) Get(k Kind, namespace, name string) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.reading(k)
	if err != nil {
		return nil, err
	}
	e := sh.objects[key{namespace, name}]
	if e == nil || e.shown.Object == nil {
		return nil, nil
	}
	return at(e.shown.Object, e.truth.GetResourceVersion()), nil
}

// Wait returns when List of a kind would not return ErrNotReady, or with the
// error of ctx.
func (s *Store) Wait(ctx context.Context, k Kind) error {
	s.mu.Lock()
	sh, err := s.reading(k)
	s.mu.Unlock()
	if !errors.Is(err, ErrNotReady) {
		return err
	}
	select {
	case <-sh.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", k.Resource, ctx.Err())
	}
}

// Online reports whether the API server answers. It is false until it has.
func (s *Store) Online() bool { return s.line.online() }

// LastHeard returns when the API server last said anything; zero: never.
func (s *Store) LastHeard() time.Time { return s.line.last() }

// Stats returns figures of every kind, in the order of Kinds.
func (s *Store) Stats() []Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Stats
	for _, k := range Kinds() {
		out = append(out, s.shelves[k].stats())
	}
	return out
}
