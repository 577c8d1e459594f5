// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	set(&l.Streams, 1000)
	set(&l.DialsPerSecond, 100)
	set(&l.Buffered, 64<<20)
	set(&l.Dial, 10*time.Second)
	set(&l.Ping, 10*time.Second)
	return l
}

func set[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

func (l Limits) budget() *h2.Budget { return h2.NewBudget(l.Buffered, l.Streams) }

// gate counts the streams and the dials of one node.
type gate struct {
	limits Limits

	mu     sync.Mutex
	open   int
	dials  float64 // that may be made now
	filled time.Time
}

// enter returns nil or a *Refusal; leave must follow nil.
func (g *gate) enter(now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	most := float64(g.limits.DialsPerSecond)
	if g.filled.IsZero() {
		g.dials = most
	}
	g.dials = min(most, g.dials+now.Sub(g.filled).Seconds()*most)
	g.filled = now
	if g.open >= g.limits.Streams {
		return refuse(CodeTooManyStreams, "the node has %d streams, which is the limit", g.open)
	}
	if g.dials < 1 {
		return refuse(CodeTooManyDials, "more than %d new streams a second", g.limits.DialsPerSecond)
	}
	g.dials--
	g.open++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
}
