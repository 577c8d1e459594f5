// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"maps"
	"slices"
	"time"
)

// shelf is everything of one kind. Store.mu guards it.
type shelf struct {
	kind Kind
	// wanted is set when the kind shall be kept, started when Run has begun to.
	wanted, started bool
	// known is set when the truth is known, stale while it is from disk only.
	known, stale bool
	heard        time.Time
	fresh        chan struct{} // closed when the API server has told the truth
	dirty        chan struct{} // receives when the truth is not on disk

	objects map[key]*entry
	shown   int
	// list are the shown objects in order, made when asked for; nil after a change.
	list []Item
	// ready is closed when something may be shown.
	ready    chan struct{}
	isReady  bool
	watchers int
	journal  journal
}

// entry is one object.
type entry struct {
	// truth is the object as the API server has it; said is what it says in its
	// stead and is not believed yet, see believe.
	truth, said Object
	// shown is what this node sees of it; no Object: nothing.
	shown Item
	// plain is set when shown is truth but for the version.
	plain bool
}

func newShelf(k Kind, wanted bool) *shelf {
	return &shelf{
		kind: k, wanted: wanted,
		fresh: make(chan struct{}), dirty: make(chan struct{}, 1),
		objects: map[key]*entry{}, ready: make(chan struct{}),
		journal: journal{news: make(chan struct{})},
	}
}

// items returns what is shown, sorted.
func (sh *shelf) items() []Item {
	if sh.list != nil {
		return sh.list
	}
	sh.list = make([]Item, 0, sh.shown)
	for _, e := range sh.objects {
		if e.shown.Object != nil {
			sh.list = append(sh.list, e.shown)
		}
	}
	slices.SortFunc(sh.list, func(a, b Item) int { return keyOf(a.Object).compare(keyOf(b.Object)) })
	return sh.list
}

// truths returns the objects as the API server has them, sorted.
func (sh *shelf) truths() []Object {
	out := make([]Object, 0, len(sh.objects))
	for _, k := range slices.SortedFunc(maps.Keys(sh.objects), key.compare) {
		out = append(out, sh.objects[k].truth)
	}
	return out
}

// soil says that the truth has changed.
func (sh *shelf) soil() {
	select {
	case sh.dirty <- struct{}{}:
	default: // the last change is not saved yet either
	}
}

// stats returns the figures of the kind.
func (sh *shelf) stats() Stats {
	return Stats{
		Kind: sh.kind, Objects: len(sh.objects), Shown: sh.shown, Ready: sh.isReady, Stale: sh.stale,
		Watchers: sh.watchers, Events: sh.journal.total, Gone: sh.journal.gone, Heard: sh.heard,
	}
}

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
