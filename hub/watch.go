// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"slices"
)

// Watch reads the events of one kind. It is for one goroutine; it holds no
// events, so one that is not read costs nothing.
type Watch struct {
	s      *Store
	shelf  *shelf
	at     uint64
	closed bool
}

// Watch returns the events of a kind after a version. It returns ErrGone,
// ErrTooNew or ErrNotReady.
func (s *Store) Watch(k Kind, since uint64) (*Watch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.reading(k)
	if err != nil {
		return nil, err
	}
	if since < sh.journal.floor {
		sh.journal.gone++
		return nil, fmt.Errorf("watch %s from %d, the oldest is %d: %w", k.Resource, since, sh.journal.floor, ErrGone)
	}
	if since > s.version {
		return nil, fmt.Errorf("watch %s from %d, the newest is %d: %w", k.Resource, since, s.version, ErrTooNew)
	}
	return s.watch(sh, since), nil
}

// Follow is List and Watch in one step: the Watch goes on from the list.
func (s *Store) Follow(k Kind) ([]Item, uint64, *Watch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.reading(k)
	if err != nil {
		return nil, 0, nil, err
	}
	return sh.items(), s.version, s.watch(sh, s.version), nil
}

func (s *Store) watch(sh *shelf, since uint64) *Watch {
	sh.watchers++
	return &Watch{s: s, shelf: sh, at: since}
}

// Next returns the next events, at least one and not all at once if there are
// many; if there is none yet it waits. It returns ErrGone when the reader was
// too slow and must list again, or the error of ctx.
func (w *Watch) Next(ctx context.Context) ([]Event, error) {
	for ctx.Err() == nil {
		events, news, err := w.read()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-ctx.Done():
		case <-news:
		}
	}
	return nil, ctx.Err()
}

// read returns what there is, and what to wait for if there is nothing.
func (w *Watch) read() ([]Event, <-chan struct{}, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	j := &w.shelf.journal
	if w.at < j.floor {
		j.gone++
		return nil, nil, fmt.Errorf("watch %s at %d, the oldest is %d: %w", w.shelf.kind.Resource, w.at, j.floor, ErrGone)
	}
	events := j.after(w.at)
	if len(events) == 0 {
		return nil, j.news, nil
	}
	w.at = events[len(events)-1].Version
	return slices.Clone(events), nil, nil
}

// Version returns up to where the reader has been given everything, which is
// what a bookmark says. It runs ahead of the last event when there was none of
// this kind since.
func (w *Watch) Version() uint64 {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if j := &w.shelf.journal; w.at >= j.floor && len(j.after(w.at)) == 0 {
		w.at = w.s.version
	}
	return w.at
}

// Close ends the watch; Next must not be called any more.
func (w *Watch) Close() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.shelf.watchers--
	}
}
