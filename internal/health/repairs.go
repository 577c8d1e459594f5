// SPDX-License-Identifier: Apache-2.0

package health

import (
	"slices"
	"time"
)

// A loop that repairs this often within that time fights with somebody.
const (
	repairsMany = 4
	repairsSpan = time.Minute
)

// Repairs tells one loop's lasting fight with a foreign writer from the odd
// repair. A person who deletes a route once is no condition; a program that
// does so every ten seconds is. The zero Repairs is ready to use, by one
// goroutine.
type Repairs struct {
	at []time.Time // of repairs within the last span
}

// Round takes the end of one round and reports whether somebody keeps changing
// what the loop owns. changed says that the round had another plan than the one
// before or followed a failed one: its steps are no repair then.
func (r *Repairs) Round(at time.Time, steps int, changed bool) bool {
	r.at = slices.DeleteFunc(r.at, func(t time.Time) bool { return at.Sub(t) >= repairsSpan })
	if steps > 0 && !changed {
		r.at = append(r.at, at)
	}
	return len(r.at) >= repairsMany
}
