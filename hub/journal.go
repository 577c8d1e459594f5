// SPDX-License-Identifier: Apache-2.0

package hub

import "sort"

// batch is how many events a reader gets at once. A reader that is stuck with
// them keeps that many objects alive, and no more.
const batch = 128

// journal is the last events of a kind, oldest first. Store.mu guards it.
type journal struct {
	events []Event
	// floor is the version that a reader must have at least to go on from here.
	floor uint64
	// news is closed when there are events that were not there when it was made.
	news chan struct{}
	// rung is set when there are, and news is still to be closed.
	rung bool
	// total events were made; gone readers were told to list again.
	total, gone uint64
}

// add appends an event and forgets old ones, but never the last keep. It
// forgets a quarter at a time, so that the moving costs next to nothing.
func (j *journal) add(e Event, keep int) {
	if cut := len(j.events) - keep; cut > keep/4 {
		j.floor = j.events[cut-1].Version
		kept := copy(j.events, j.events[cut:])
		clear(j.events[kept:])
		j.events = j.events[:kept]
	}
	j.events = append(j.events, e)
	j.total++
	j.rung = true
}

// after returns the first events after a version, at most a batch of them.
func (j *journal) after(version uint64) []Event {
	first := sort.Search(len(j.events), func(i int) bool { return j.events[i].Version > version })
	return j.events[first:min(first+batch, len(j.events))]
}

// ring wakes those who wait for news.
func (j *journal) ring() {
	if j.rung {
		close(j.news)
		j.news, j.rung = make(chan struct{}), false
	}
}
