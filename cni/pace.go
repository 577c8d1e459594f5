// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"time"

	"github.com/magpie-edge/magpie/plan"
)

// lookAgain is the least time from one look of the repair loop to the next while
// pods come and go. A look goes into every pod, 0.2 ms each, on a CPU and under
// the kernel's one routing lock, which the next ADD wants; and every ADD and DEL
// wakes the loop by what it writes. With the time that a look takes this keeps
// the promise that damage is mended within a second.
const lookAgain = 600 * time.Millisecond

// observe is the Observe of a round.
func (s *Server) observe(ctx context.Context) (plan.Plan, error) {
	if err := s.rest(ctx); err != nil {
		return plan.Plan{}, err
	}
	at := s.cfg.Now()
	have, err := s.cfg.World.Observe(ctx)
	if err == nil {
		s.mu.Lock()
		s.looked = at
		s.mu.Unlock()
	}
	return have, err
}

// rest waits, while verbs are at work, until it is time to look again.
func (s *Server) rest(ctx context.Context) error {
	s.mu.Lock()
	var wait time.Duration
	if len(s.touched) > 0 {
		wait = lookAgain - s.cfg.Now().Sub(s.looked)
	}
	s.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(min(wait, lookAgain)) // a clock may go back
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// doubt lets the next round look at once.
func (s *Server) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = time.Time{}
}
