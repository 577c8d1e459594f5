// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"time"
)

// ErrNotReady is returned by Loop.Read while a source has not synced yet.
// Unknown is not empty: no round runs before every source has spoken once.
var ErrNotReady = errors.New("sources not synced")

// World is one side of the outside that a Loop keeps equal to a plan.
//
// Observe returns only what the loop owns. Apply makes the smallest set of
// writes that turns have into want and returns how many it made; it goes on
// past independent failures and joins their errors. Both honour ctx.
type World[P any] interface {
	Observe(ctx context.Context) (P, error)
	Apply(ctx context.Context, have, want P) (steps int, err error)
}

// Round tells what one pass of a Loop did; Report receives it.
type Round struct {
	Loop  string        // Loop.Name
	At    time.Time     // start
	Took  time.Duration // from Read to the end of Apply
	Steps int           // writes made; 0 when the world was as desired
	Wake  bool          // true: something woke us; false: the full round of Every
	Err   error         // nil on success; ErrNotReady is reported, too
}

// Loop reads a source S, derives the plan P that it desires, observes the
// world, applies the difference and reports. One goroutine runs it: see Run.
type Loop[S, P any] struct {
	Name   string
	Read   func() (S, error)  // from caches; never waits on the network
	Desire func(S) (P, error) // pure
	World  World[P]
	// Wake carries no data: "look again". Wakes during a round coalesce.
	Wake <-chan struct{}
	// Gap is the least time between two rounds, and the first pause after a
	// failed one; the pause doubles up to Every.
	Gap time.Duration
	// Every is the time after which a round runs even if nothing woke us.
	Every  time.Duration
	Report func(Round)
}
