// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// memory remembers answers until their time is over, at most memoryEntries.
type memory[V any] struct {
	now    func() time.Time
	asking singleflight.Group

	mu      sync.Mutex
	entries map[string]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

// memoryEntries bound a memory; an entry is some hundred bytes.
const memoryEntries = 4096

func newMemory[V any](now func() time.Time) *memory[V] {
	return &memory[V]{now: now, entries: map[string]remembered[V]{}}
}

// get returns what it remembers, else what ask answers and for how long that
// holds. All that want the same at one time wait for one answer; ask goes on
// when the first of them gives up, since the others still want it.
func (m *memory[V]) get(ctx context.Context, key string, ask func(context.Context) (V, time.Duration, error)) (V, error) {
	if v, ok := m.recall(key); ok {
		return v, nil
	}
	answer := m.asking.DoChan(key, func() (any, error) {
		v, lasts, err := ask(context.WithoutCancel(ctx))
		if err == nil {
			m.put(key, v, lasts)
		}
		return v, err
	})
	var none V
	select {
	case r := <-answer:
		if r.Err != nil {
			return none, r.Err
		}
		v, _ := r.Val.(V)
		return v, nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (m *memory[V]) recall(key string) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok || !m.now().Before(e.until) {
		var none V
		return none, false
	}
	return e.value, true
}

// put makes room by forgetting what is over, and if nothing is, anything: a
// flood of bad tokens then costs good ones another question and no memory.
func (m *memory[V]) put(key string, value V, lasts time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if len(m.entries) >= memoryEntries {
		for k, e := range m.entries {
			if !now.Before(e.until) {
				delete(m.entries, k)
			}
		}
	}
	for k := range m.entries {
		if len(m.entries) < memoryEntries {
			break
		}
		delete(m.entries, k)
	}
	m.entries[key] = remembered[V]{value, now.Add(lasts)}
}
