// SPDX-License-Identifier: Apache-2.0

package garbage

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Limit is how much garbage a process may keep before it is collected: the
// larger of the two.
type Limit struct {
	Share int // of what is live, in percent
	Least int // bytes
}

// Agent is the limit of magpie-agent. Most of what it keeps, Services and Nodes,
// hardly ever changes, so that a small share costs little; and eight megabytes
// are the garbage of two hundred pods that come and go.
var Agent = Limit{Share: 50, Least: 8 << 20} //nolint:gochecknoglobals // a constant that Go cannot express

// Keep keeps this process to the limit until it ends, unless GOGC is set. It is
// called once, when a process begins.
func (l Limit) Keep() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := 0
	var collected func(*cycle)
	collected = func(c *cycle) {
		metrics.Read(live)
		// To set a share stops the world for a moment.
		if next := l.percent(int(live[0].Value.Uint64())); next < now*9/10 || next > now*11/10 {
			now = next
			debug.SetGCPercent(next)
		}
		runtime.SetFinalizer(c, collected)
	}
	collected(&cycle{})
}

// cycle is nobody's, so that each collection finalizes it. It has a pointer
// because objects without are allocated together, and would go together.
type cycle struct{ _ *cycle }

// small is where Go begins to collect at a share of 100 percent, however little
// is live; other shares in proportion. Source: runtime/debug, SetGCPercent;
// runtime/mgcpacer.go, defaultHeapMinimum.
const small = 4 << 20

// percent returns the share, as Go understands it, that makes the next collection
// begin at the limit.
func (l Limit) percent(live int) int {
	live = max(live, 1<<20)
	goal := live + max(l.Least, live*l.Share/100)
	return min((goal-live)*100/live, goal*100/small)
}
