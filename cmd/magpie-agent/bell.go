// SPDX-License-Identifier: Apache-2.0

package main

import "context"

// bell wakes every loop that listens. A ring carries no data and rings that
// nobody has answered yet become one.
type bell struct {
	ears []chan struct{}
}

// listen returns a channel that receives after each ring. Call it before the
// first ring; it is not safe beside one.
func (b *bell) listen() <-chan struct{} {
	ear := make(chan struct{}, 1)
	b.ears = append(b.ears, ear)
	return ear
}

func (b *bell) ring() {
	for _, ear := range b.ears {
		select {
		case ear <- struct{}{}:
		default: // it has not answered the last ring yet
		}
	}
}

// follow rings for everything that comes out of ch until ctx ends.
func (b *bell) follow(ctx context.Context, ch <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-ch:
			if !open {
				return
			}
			b.ring()
		}
	}
}
