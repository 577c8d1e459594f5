// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"testing"
	"time"
)

// TestCourtesy: bulk rests after each burst while somebody types, and only then.
func TestCourtesy(t *testing.T) {
	const burst = 2 * share // of two CPUs
	k := Courtesy{burst: burst}
	var copying, shell Stream
	now := time.Unix(1e9, 0)
	// sends is a stream that moves much, two bursts each time, and how often it
	// rested in a hundred of them.
	sends := func(every time.Duration, types bool) (rests int) {
		for range 100 {
			if now = now.Add(every); types {
				k.hear(&shell, 1, now)
			}
			for sent := 0; sent < 2*burst; sent += quantumMax {
				now = now.Add(every / (2 * burst / quantumMax))
				k.hear(&copying, quantumMax, now)
				k.hear(&copying, 100, now) // the end of what it read is no typing
				if wait := k.pause(quantumMax, now); wait > 0 {
					rests++
					now = now.Add(wait)
				}
			}
		}
		return rests
	}
	if n := sends(rest, false); n != 0 {
		t.Errorf("it rested %d times for nobody", n)
	}
	if n := sends(rest, true); n < 150 || n > 200 {
		t.Errorf("it rested %d times, not after each of 200 bursts", n)
	}
	if n := sends(10*rest, true); n != 0 {
		t.Errorf("it rested %d times on a slow line", n)
	}
	if now = now.Add(2 * typing); sends(rest, false) != 0 {
		t.Error("it rests for one who has gone")
	}
	k.hear(&shell, 1, now)
	if wait := k.pause(short, now); wait != 0 {
		t.Error("a short frame had to wait")
	}
	k.sent, k.began = burst, now
	if first, second := k.pause(quantumMax, now), k.pause(quantumMax, now.Add(rest/2)); first != rest || second != rest/2 {
		t.Errorf("two streams rest for %s and %s, not to the same end", first, second)
	}
	var none *Courtesy
	if none.hear(&shell, 1, now); none.pause(quantumMax, now) != 0 {
		t.Error("nobody is waited for")
	}
}
