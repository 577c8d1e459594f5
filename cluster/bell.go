// SPDX-License-Identifier: Apache-2.0

package cluster

import "sync"

// bell tells any number of listeners to look again. The zero bell is ready.
type bell struct {
	mu   sync.Mutex
	ears []chan struct{}
}

// listen returns a new channel that receives after each ring.
func (b *bell) listen() <-chan struct{} {
	ear := make(chan struct{}, 1)
	b.join(ear)
	return ear
}

// join rings an ear that listens to another bell, too.
func (b *bell) join(ear chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ears = append(b.ears, ear)
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ear := range b.ears {
		select {
		case ear <- struct{}{}:
		default: // the last ring is still unanswered
		}
	}
}
