// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-edge/magpie/internal/reconcile"
)

// world is a number that Apply moves to the wanted number, one write a round.
type world struct {
	have, applies int
	fail          error
}

func (w *world) Observe(context.Context) (int, error) { return w.have, nil }

func (w *world) Apply(_ context.Context, have, want int) (int, error) {
	w.applies++
	if w.fail != nil {
		return 0, w.fail
	}
	if have == want {
		return 0, nil
	}
	w.have = want
	return 1, nil
}

type bench struct {
	world  world
	want   int
	ready  error
	wake   chan struct{}
	rounds []reconcile.Round
}

func (b *bench) start(ctx context.Context) {
	b.wake = make(chan struct{}, 1)
	loop := &reconcile.Loop[int, int]{
		Name:   "test",
		Read:   func() (int, error) { return b.want, b.ready },
		Desire: func(s int) (int, error) { return s, nil },
		World:  &b.world,
		Wake:   b.wake,
		Gap:    time.Second,
		Every:  time.Minute,
		Report: func(r reconcile.Round) { b.rounds = append(b.rounds, r) },
	}
	go loop.Run(ctx) //nolint:errcheck // ends with ctx
}

func TestFirstRoundAtOnceThenEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &bench{want: 1}
		b.start(ctx)
		synctest.Wait()
		if len(b.rounds) != 1 || b.rounds[0].Steps != 1 {
			t.Fatalf("rounds at start: %+v", b.rounds)
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if len(b.rounds) != 1 {
			t.Fatalf("a round before Every without a wake: %+v", b.rounds)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(b.rounds) != 2 || b.rounds[1].Steps != 0 || b.rounds[1].Wake {
			t.Fatalf("rounds after Every: %+v", b.rounds)
		}
		cancel()
		synctest.Wait()
	})
}

func TestWakesCoalesceWithinGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &bench{want: 1}
		b.start(ctx)
		synctest.Wait()
		for range 10 { // ten wakes in half a second
			select {
			case b.wake <- struct{}{}:
			default:
			}
			time.Sleep(50 * time.Millisecond)
		}
		b.want = 2
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		if len(b.rounds) != 2 || b.world.have != 2 || !b.rounds[1].Wake {
			t.Fatalf("want one woken round that sees the last state: %+v", b.rounds)
		}
		cancel()
		synctest.Wait()
	})
}

func TestNothingIsAppliedBeforeSourcesSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &bench{want: 1, ready: reconcile.ErrNotReady}
		b.start(ctx)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if b.world.applies != 0 {
			t.Fatalf("applied %d times although unknown is not empty", b.world.applies)
		}
		if !b.rounds[0].NotReady() {
			t.Fatalf("round does not say why: %v", b.rounds[0].Err)
		}
		b.ready = nil
		time.Sleep(time.Minute)
		synctest.Wait()
		if b.world.have != 1 {
			t.Fatal("never applied after the sources synced")
		}
		cancel()
		synctest.Wait()
	})
}

func TestFailureBacksOffToEveryAndNeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &bench{want: 1, world: world{fail: errors.New("no buffer space")}}
		b.start(ctx)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		var pauses []time.Duration
		for i := 1; i < len(b.rounds); i++ {
			pauses = append(pauses, b.rounds[i].At.Sub(b.rounds[i-1].At))
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			if pauses[i] != want*time.Second {
				t.Fatalf("pause %d is %v, want %vs; all: %v", i, pauses[i], int64(want), pauses)
			}
		}
		b.world.fail = nil
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if b.world.have != 1 {
			t.Fatal("gave up")
		}
		cancel()
		synctest.Wait()
	})
}
