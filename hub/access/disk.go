// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/hub/file"
)

// saveEvery is how often at most the file is written.
const saveEvery = 5 * time.Second

// saved is the file: every yes. A no is not worth a grace.
type saved struct {
	Users   map[string]savedEntry[*User]  `json:"users"`   // by SHA-256 of the token
	Bearers map[string]savedEntry[*User]  `json:"bearers"` // by SHA-256 of what his tokens have in common
	Rights  map[string]savedEntry[answer] `json:"rights"`  // by SHA-256 of user and deed
	Keys    savedEntry[json.RawMessage]   `json:"keys"`    // a JSON Web Key Set
}

type savedEntry[V any] struct {
	Value V         `json:"value"`
	At    time.Time `json:"at"`
}

// Run keeps the API server's keys and the file current until ctx ends, and
// returns ctx.Err(). A file that can not be written is told once and costs the
// next start its memory.
func (r *Reviewer) Run(ctx context.Context) error {
	var keys sync.WaitGroup
	defer keys.Wait()
	keys.Go(func() { r.keys.run(ctx) })
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	told := false
	for {
		over := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			over = true
		}
		err := r.save()
		if err != nil && !told {
			r.o.Log.Warn("answers about callers are not saved", "path", r.o.Path, "err", err)
		}
		told = err != nil
		if over {
			return ctx.Err()
		}
	}
}

func (r *Reviewer) save() error {
	if r.o.Path == "" {
		return nil
	}
	users, change1 := r.users.export()
	bearers, change2 := r.bearers.export()
	rights, change3 := r.answers.export()
	keys := r.keys.export()
	if !r.users.behind() && !r.bearers.behind() && !r.answers.behind() && !r.keys.behind(keys) {
		return nil
	}
	text, err := json.Marshal(saved{users, bearers, rights, keys})
	if err == nil {
		err = file.Replace(r.o.Path, text, 0o600)
	}
	if err != nil {
		return err
	}
	r.users.noteWritten(users, change1)
	r.bearers.noteWritten(bearers, change2)
	r.answers.noteWritten(rights, change3)
	r.keys.noteWritten(keys)
	return nil
}

// load reads the file. One that can not be read is as good as none.
func (r *Reviewer) load() {
	if r.o.Path == "" {
		return
	}
	text, err := os.ReadFile(r.o.Path)
	var s saved
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.o.Log.Warn("answers about callers can not be read", "path", r.o.Path, "err", err)
		}
		return
	}
	r.users.load(s.Users)
	r.bearers.load(s.Bearers)
	r.answers.load(s.Rights)
	r.keys.load(s.Keys)
}

// export returns every yes that is within the grace, and the count of changes
// that it has.
func (b *book[V]) export() (map[string]savedEntry[V], uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out, now := map[string]savedEntry[V]{}, b.o.Now()
	for key, e := range b.entries {
		if b.yes(e.value) && now.Sub(e.at) < b.o.Grace {
			out[key] = savedEntry[V]{e.value, e.at}
		}
	}
	return out, b.change
}

// behind reports whether the file should be written.
func (b *book[V]) behind() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.change != b.written
}

// noteWritten notes what is on disk now.
func (b *book[V]) noteWritten(what map[string]savedEntry[V], change uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written = change
	for key, e := range b.entries {
		e.saved = what[key].At
	}
}

func (b *book[V]) load(from map[string]savedEntry[V]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, e := range from {
		if len(b.entries) < bookMost && b.yes(e.Value) {
			b.entries[key] = &entry[V]{value: e.Value, at: e.At, saved: e.At}
		}
	}
}
