// SPDX-License-Identifier: Apache-2.0

package hub

import "context"

// Watch reads the events of one kind. It is for one goroutine; it holds no
// events, so one that is not read costs nothing.
type Watch struct{}

// Next returns the next events, at least one and not all at once if there are
// many; if there is none yet it waits. It returns ErrGone when the reader was
// too slow and must list again, or the error of ctx.
func (w *Watch) Next(ctx context.Context) ([]Event, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Version returns up to where the reader has seen everything, which is what a
// bookmark says. It runs ahead of the last event when there was none since.
func (w *Watch) Version() uint64 { return 0 }

// Close ends the watch; Next must not be called any more.
func (w *Watch) Close() {}
