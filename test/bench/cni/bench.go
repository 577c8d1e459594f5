// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/magpie-edge/magpie/test/bench/result"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// Options bound the measurement.
type Options struct {
	Rounds int // samples of each figure
	Pods   int // of a round; 0 is 100, so that a 99th percentile is not the worst
}

// Goals. Source: issue 2, "Numbers".
const (
	goalRatio  = 0.2
	goalMedian = 0.005 // seconds
)

// side is a node with one way of giving pods their network.
type side struct {
	ours  bool
	node  *stage.Space
	agent *stage.Child
	dir   string
}

func (s *side) close() {
	if s.agent != nil {
		s.agent.Stop()
	}
	if s.node != nil {
		s.node.Close()
	}
}

// Run measures both sides in turns. Prepare must have run.
func Run(ctx context.Context, o Options) ([]result.Row, error) {
	if o.Pods == 0 {
		o.Pods = 100
	}
	dir, err := os.MkdirTemp("", "magpie-bench-cni-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	var sides [2]*side
	for i := range sides {
		s := &side{ours: i == 0, dir: filepath.Join(dir, fmt.Sprint(i))}
		sides[i] = s
		defer s.close()
		if err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	pods := make([]string, o.Pods)
	for i := range pods {
		p, err := stage.NewSpace(ctx)
		if err != nil {
			return nil, fmt.Errorf("namespace of a pod: %w", err)
		}
		defer p.Close()
		pods[i] = p.Path
	}
	return measure(ctx, sides, pods, o.Rounds)
}

func (s *side) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if s.node, err = stage.NewSpace(ctx); err != nil || !s.ours {
		return err
	}
	if s.agent, err = s.node.Start(ctx, RoleAgent, s.dir); err != nil {
		return err
	}
	var ok bool
	return s.agent.Answer(&ok)
}

// load is one way of asking.
type load struct {
	name string
	at   int
	port bool
}

func loads() []load {
	return []load{{"", 1, false}, {" port", 1, true}, {" x10", 10, false}, {" x10 port", 10, true}}
}

func measure(ctx context.Context, sides [2]*side, pods []string, rounds int) ([]result.Row, error) {
	var rows []result.Row
	for _, l := range loads() {
		at := len(rows)
		for _, verb := range []string{"ADD", "DEL"} {
			// One at a time is what the limit of our own is about.
			limit := 0.0
			if l.at == 1 {
				limit = goalMedian
			}
			rows = append(rows,
				result.Row{What: verb + l.name + " p50", AtMost: goalRatio, Limit: limit},
				result.Row{What: verb + l.name + " p99", AtMost: goalRatio})
		}
		for round := range rounds + 1 {
			if err := once(ctx, sides, job{Pods: pods, At: l.at, Port: l.port, Running: round}, rows[at:]); err != nil {
				return nil, err
			}
		}
	}
	for i := range rows {
		rows[i].Bench, rows[i].Unit, rows[i].Peer = "cni", "s", "bridge+host-local+portmap v1.9.1"
	}
	return rows, nil
}

// once does a round of one load on both sides and adds its samples to four
// rows, unless it is the first: that one makes the bridge and fills caches.
func once(ctx context.Context, sides [2]*side, j job, rows []result.Row) error {
	for _, s := range sides {
		j.Dir, j.Ours = s.dir, s.ours
		t, err := s.do(ctx, j)
		if err != nil {
			return fmt.Errorf("%s, ours %v: %w", rows[0].What, s.ours, err)
		}
		if j.Running == 0 {
			continue
		}
		for i, sample := range []float64{
			result.Percentile(t.Add, 50), result.Percentile(t.Add, 99), result.Percentile(t.Del, 50), result.Percentile(t.Del, 99),
		} {
			s.samples(&rows[i], sample)
		}
	}
	return nil
}

// samples adds one to the side's own column.
func (s *side) samples(r *result.Row, sample float64) {
	if s.ours {
		r.Ours = append(r.Ours, sample)
		return
	}
	r.Theirs = append(r.Theirs, sample)
}

func (s *side) do(ctx context.Context, j job) (t times, err error) {
	c, err := s.node.Start(ctx, RoleRuntime, j)
	if err != nil {
		return t, err
	}
	defer c.Stop()
	return t, c.Answer(&t)
}
