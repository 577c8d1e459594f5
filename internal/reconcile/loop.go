// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run runs rounds until ctx ends and returns ctx.Err(). The first round starts
// at once. It must be called once, from a goroutine of its own.
func (l *Loop[S, P]) Run(ctx context.Context) error {
	pause := l.Gap
	woken := false
	for ctx.Err() == nil {
		r := l.round(ctx, woken)
		if l.Report != nil {
			l.Report(r)
		}
		wait := l.Every
		if r.Err != nil {
			wait = pause
			pause = min(2*pause, l.Every)
		} else {
			pause = l.Gap
		}
		woken = l.sleep(ctx, wait)
	}
	return ctx.Err()
}

// sleep lasts Gap at least, so that a burst of wakes makes one round, and
// until a wake or the end of wait. It reports whether a wake ended it.
func (l *Loop[S, P]) sleep(ctx context.Context, wait time.Duration) (woken bool) {
	gap := time.NewTimer(l.Gap)
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-gap.C:
	}
	rest := time.NewTimer(max(wait-l.Gap, 0))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rest.C:
		return false
	case _, open := <-l.Wake:
		if !open {
			l.Wake = nil // a closed channel would wake us for ever
		}
		return true
	}
}

func (l *Loop[S, P]) round(ctx context.Context, woken bool) (r Round) {
	r = Round{Loop: l.Name, At: now(), Wake: woken}
	defer func() { r.Took = now().Sub(r.At) }()
	source, err := l.Read()
	if err != nil {
		r.Err = fmt.Errorf("read: %w", err)
		return r
	}
	want, err := l.Desire(source)
	if err != nil {
		r.Err = fmt.Errorf("desire: %w", err)
		return r
	}
	have, err := l.World.Observe(ctx)
	if err != nil {
		r.Err = fmt.Errorf("observe: %w", err)
		return r
	}
	r.Steps, r.Err = l.World.Apply(ctx, have, want)
	if r.Err != nil {
		r.Err = fmt.Errorf("apply: %w", r.Err)
	}
	return r
}

// now is the one clock of this package; testing/synctest makes it virtual.
func now() time.Time {
	return time.Now() //nolint:forbidigo // the loop is where time enters
}

// NotReady reports whether the round only waited for its sources.
func (r Round) NotReady() bool { return errors.Is(r.Err, ErrNotReady) }
