// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// crowd counts what callers have under way, so that one that forgets to close
// its watches does not take the hub from the others.
type crowd struct {
	each, most int // of one caller, of all

	mu   sync.Mutex
	have map[string]int
	all  int
}

func newCrowd(each, most int) *crowd {
	return &crowd{each: each, most: most, have: map[string]int{}}
}

// enter counts one more of that caller; leave takes it back. An error means
// that there are too many.
func (c *crowd) enter(name string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.have[name] >= c.each || c.all >= c.most {
		return nil, apierrors.NewTooManyRequests("too many requests of this kind are under way", retryAfter)
	}
	c.have[name]++
	c.all++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.have[name]--; c.have[name] == 0 {
			delete(c.have, name)
		}
	}, nil
}
