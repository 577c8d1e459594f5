// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/magpie-edge/magpie/plan"
)

// settings are the sysctls that a world reports. A setting carries no owner's
// mark, so the world remembers which ones it was given. It forgets those that
// are not there any more: their device is gone, and on a node whose pods come
// and go the list would grow for ever.
type settings struct {
	mu    sync.Mutex
	asked map[plan.SysctlKey]bool
}

func (s *settings) remember(keys ...plan.SysctlKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[plan.SysctlKey]bool{}
	}
	for _, k := range keys {
		s.asked[k] = true
	}
}

func (s *settings) rememberAll(want []plan.Sysctl) {
	for _, x := range want {
		s.remember(x.Key())
	}
}

func (s *settings) forget(k plan.SysctlKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, k)
}

// keys returns what is remembered and what more says, in a fixed order.
func (s *settings) keys(more func() []plan.SysctlKey) []plan.SysctlKey {
	if more != nil {
		s.remember(more()...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.asked), func(a, b plan.SysctlKey) int {
		return cmp.Or(strings.Compare(a.NS, b.NS), strings.Compare(a.Key, b.Key))
	})
}
