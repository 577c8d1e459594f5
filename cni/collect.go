// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"time"

	"github.com/magpie-edge/magpie/plan"
)

// Run collects every so often until ctx ends, and returns ctx.Err().
func (s *Server) Run(ctx context.Context, every time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			s.Collect(ctx)
		}
	}
}

// Collect gives up pods that no longer exist although no DEL came: containerd
// never calls GC. A pod is gone when its namespace is, and its veth pair, too:
// a path alone may be missing because a mount is not visible to us.
func (s *Server) Collect(ctx context.Context) {
	start := s.cfg.Now()
	if !s.recovered.Load() {
		if err := s.Recover(ctx); err != nil {
			s.report("RECOVER", Pod{}, start, err)
		}
		return
	}
	pods := s.Pods()
	have, err := s.cfg.World.Observe(ctx)
	if err != nil {
		s.report("COLLECT", Pod{}, start, err)
		return
	}
	for _, pod := range pods {
		if hasDevice(have, pod.HostDevice()) {
			continue
		}
		if alive, err := s.cfg.Door.PodSpace(pod.NetNS); alive || err != nil {
			continue // damaged, not gone: the repair loop's work
		}
		if unlock, err := s.keys.lock(ctx, pod.Key); err == nil {
			err = s.del(request{key: pod.Key})
			unlock()
			s.report("COLLECT", pod, start, err)
		}
	}
	for _, dev := range s.missing(have) {
		s.release(dev)
	}
}

// missing are adopted pods whose device is gone.
func (s *Server) missing(have plan.Plan) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for dev := range s.adopted {
		if !hasDevice(have, dev) {
			out = append(out, dev)
		}
	}
	return out
}
