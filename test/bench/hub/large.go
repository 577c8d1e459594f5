// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/test/bench/result"
)

// memoryGoal is the most that the hub of a large cluster may cost a node, in
// bytes.
const memoryGoal = 150e6

// large measures a node of the large cluster.
func (w *world) large(ctx context.Context, rounds int) ([]result.Row, error) {
	if err := w.near.end("agent"); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := createMany(ctx, w.client); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "bench hub: large cluster made, %s\n", time.Since(begin).Round(time.Second))
	without, err := w.agentWithout(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.near.startAgent(ctx, true); err != nil {
		return nil, err
	}
	lists, err := w.lists(ctx, rounds)
	if err != nil {
		return nil, err
	}
	moves, err := w.relabelled(ctx, rounds)
	if err != nil {
		return nil, err
	}
	now, most, err := w.memory(ctx)
	if err != nil {
		return nil, err
	}
	memory := []result.Row{
		{What: "memory", Unit: "B", Peer: "the agent without a hub", Ours: []float64{now}, Theirs: []float64{without.now}, Above: memoryGoal},
		{What: "memory at most", Unit: "B", Peer: "the agent without a hub", Ours: []float64{most}, Theirs: []float64{without.most}},
	}
	return append(append(memory, lists...), moves...), nil
}

// footprint is memory of the agent in bytes.
type footprint struct{ now, most float64 }

// agentWithout measures the agent without a hub in the same cluster.
func (w *world) agentWithout(ctx context.Context) (f footprint, err error) {
	if err := w.near.startAgent(ctx, false); err != nil {
		return f, err
	}
	if f.now, f.most, err = w.memory(ctx); err != nil {
		return f, err
	}
	return f, w.near.end("agent")
}

// memory waits until the agent's memory changes no more, and returns it and
// what it was at most.
func (w *world) memory(ctx context.Context) (now, most float64, err error) {
	const (
		longest = 45 * time.Second
		alike   = 10 // seconds in which it changes by less than a fiftieth
	)
	agent := w.near.running["agent"]
	var last []float64
	for end := time.Now().Add(longest); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(time.Second):
		}
		n, err := agent.Resident()
		if err != nil {
			return 0, 0, err
		}
		last = append(last, float64(n))
		if tail := last[max(0, len(last)-alike):]; len(tail) == alike && spread(tail) < 0.02 {
			break
		}
	}
	n, err := agent.Memory()
	return last[len(last)-1], float64(n), err
}

func spread(v []float64) float64 {
	low, high := v[0], v[0]
	for _, x := range v {
		low, high = min(low, x), max(high, x)
	}
	return (high - low) / high
}

// lists compares the time of a first list of everything, as kube-proxy makes
// it, by two clients that come anew each time.
func (w *world) lists(ctx context.Context, rounds int) ([]result.Row, error) {
	row := result.Row{What: "first list", Unit: "s", Peer: "from the API server", Limit: 1}
	for range rounds {
		near, err := listAll(ctx, w.near.through)
		if err != nil {
			return nil, fmt.Errorf("through the hub: %w", err)
		}
		far, err := listAll(ctx, w.far.direct)
		if err != nil {
			return nil, fmt.Errorf("past the hub: %w", err)
		}
		row.Ours, row.Theirs = append(row.Ours, near), append(row.Theirs, far)
	}
	return []result.Row{row}, nil
}

// listAll returns how long it takes to read and decode both kinds at once.
func listAll(ctx context.Context, cfg *rest.Config) (seconds float64, err error) {
	c, err := clientOf(cfg)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		list, err := c.CoreV1().Services("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err == nil && len(list.Items) < manyServices {
			err = fmt.Errorf("only %d Services", len(list.Items))
		}
		return err
	})
	g.Go(func() error {
		list, err := c.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err == nil && len(list.Items) < manyServices {
			err = fmt.Errorf("only %d EndpointSlices", len(list.Items))
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, fmt.Errorf("list: %w", err)
	}
	return time.Since(begin).Seconds(), nil
}
