// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// bookMost bounds a book; an entry has some hundred bytes.
	bookMost = 4096
	// patience is how long a question may take where there is an answer of
	// before: about as long as a caller does not notice.
	patience = time.Second
	// awayFor is how long nobody waits for an API server that has just not
	// answered, if there is an answer of before.
	awayFor = 5 * time.Second
	// resaveAfter is how much younger an answer must be than the one on disk to
	// be written again: flash wears out.
	resaveAfter = 10 * time.Minute
)

// book remembers answers to questions of one kind.
type book[V any] struct {
	o      Options
	yes    func(V) bool
	line   *line
	asking singleflight.Group
	graced atomic.Uint64

	mu      sync.Mutex
	entries map[string]*entry[V]
	// change counts what the file should hear of; written is the count it has.
	change, written uint64
}

// entry is one answer.
type entry[V any] struct {
	value V
	at    time.Time // when the API server said so
	used  time.Time
	saved time.Time // the at that is on disk; zero if none is
}

func newBook[V any](o Options, l *line, yes func(V) bool) *book[V] {
	return &book[V]{o: o, yes: yes, line: l, entries: map[string]*entry[V]{}}
}

// get returns the answer to the question of that key: a fresh one that is
// remembered, else what ask says, else, if that does not succeed, one of before
// within the grace. All that want the same at one time wait for one question,
// which goes on when the first of them gives up.
func (b *book[V]) get(ctx context.Context, key string, ask func(context.Context) (V, error)) (V, error) {
	old, fresh, graced := b.recall(key)
	if fresh {
		return old, nil
	}
	if graced && b.line.away() {
		b.graced.Add(1)
		return old, nil
	}
	var soon <-chan time.Time
	if graced {
		soon = time.After(patience)
	}
	answered := b.asking.DoChan(key, func() (any, error) {
		v, err := ask(context.WithoutCancel(ctx))
		b.line.heard(err)
		if err == nil {
			b.put(key, v)
		}
		return v, err
	})
	var none V
	select {
	case r := <-answered:
		if v, ok := r.Val.(V); ok && r.Err == nil {
			return v, nil
		}
		if graced {
			b.graced.Add(1)
			return old, nil
		}
		return none, fmt.Errorf("%w: %w", ErrUnknown, r.Err)
	case <-soon:
		b.graced.Add(1)
		return old, nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// recall returns what is remembered, and whether that is good as it is or only
// while the API server does not answer. An answer from the future is of another
// process whose clock was wrong, or ours is: a node without a battery starts in
// 1970. It has its grace, but is asked for again.
func (b *book[V]) recall(key string) (v V, fresh, graced bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[key]
	if !ok {
		return v, false, false
	}
	now := b.o.Now()
	e.used = now
	age, lasts := now.Sub(e.at), deniedFor
	if b.yes(e.value) {
		lasts = allowedFor
	}
	return e.value, age >= 0 && age < lasts, age < b.o.Grace
}

// has reports whether anything is remembered that is within the grace.
func (b *book[V]) has(key string) bool {
	_, fresh, graced := b.recall(key)
	return fresh || graced
}

func (b *book[V]) put(key string, v V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.o.Now()
	e := b.entries[key]
	if e == nil {
		b.room()
		e = &entry[V]{}
		b.entries[key] = e
	}
	had := b.yes(e.value) // on disk, then
	e.value, e.at, e.used = v, now, now
	if has := b.yes(v); has != had || has && now.Sub(e.saved) > resaveAfter {
		b.change++
	}
}

// room makes place for one more: of those that say no, else of all, the one
// that was not used for longest goes.
func (b *book[V]) room() {
	if len(b.entries) < bookMost {
		return
	}
	var worst string
	for k, e := range b.entries {
		if w, ok := b.entries[worst]; !ok || b.worse(e, w) {
			worst = k
		}
	}
	if b.yes(b.entries[worst].value) {
		b.change++
	}
	delete(b.entries, worst)
}

func (b *book[V]) worse(e, than *entry[V]) bool {
	if y, z := b.yes(e.value), b.yes(than.value); y != z {
		return !y
	}
	return e.used.Before(than.used)
}

// line remembers when the API server last did not answer.
type line struct {
	now func() time.Time

	mu    sync.Mutex
	until time.Time
}

// heard takes what became of a question. Who refuses us is not away.
func (l *line) heard(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	if err != nil && !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
		l.until = l.now().Add(awayFor)
	}
}

func (l *line) away() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now().Before(l.until)
}
