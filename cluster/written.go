// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
)

const (
	seenTimeout = 2 * time.Second // for our writes to come back by the watch
	seenPause   = 2 * time.Millisecond
)

// written is one object as we left it.
type written struct{ kind, namespace, name, version string }

// await returns when the stores hold what was written, or a little later: a
// round that decides on what was before our last writes repeats them.
func (s *stores) await(ctx context.Context, wrote ...written) {
	ctx, cancel := context.WithTimeout(ctx, seenTimeout)
	defer cancel()
	tick := time.NewTicker(seenPause)
	defer tick.Stop()
	for _, w := range wrote {
		for !s.seen(w) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

func (s *stores) seen(w written) bool {
	o := s.get(w.kind, w.namespace, w.name)
	if o == nil {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), w.version)
	return err != nil || order >= 0
}
