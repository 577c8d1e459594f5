// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errNever ends a poll at once.
var errNever = errors.New("gave up")

// poll calls try until it succeeds, the limit passes or ctx ends. The error is
// the last one.
func poll(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := 20 * time.Millisecond
	for {
		err := try()
		if err == nil || errors.Is(err, errNever) {
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("interrupted: %w", err)
			}
			return fmt.Errorf("after %s: %w", limit, err)
		case <-time.After(pause):
		}
		pause = min(pause*2, time.Second)
	}
}
