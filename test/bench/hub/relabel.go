// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/test/bench/result"
)

const (
	mergePatch = types.MergePatchType
	// mover is the number of the node that goes to the pool of throughHub and
	// back. Webhooks that forbid that are not installed here.
	mover = 3
	// late is for how long no further event comes after the last.
	late = 300 * time.Millisecond
)

// relabelled measures from the write of a Node's label to the last event of
// the Services whose endpoints there came into, or left, the pool.
func (w *world) relabelled(ctx context.Context, rounds int) ([]result.Row, error) {
	c, err := clientOf(w.near.through)
	if err != nil {
		return nil, err
	}
	slices := c.DiscoveryV1().EndpointSlices("")
	list, err := slices.List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("list slices: %w", err)
	}
	events, err := slices.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("watch slices: %w", err)
	}
	defer events.Stop()
	row := result.Row{What: "relabelled node", Unit: "s", Limit: 0.2}
	for range rounds {
		for _, pool := range []string{poolName(throughHub), poolName(mover)} {
			took, err := w.relabel(ctx, events, pool)
			if err != nil {
				return nil, fmt.Errorf("to %s: %w", pool, err)
			}
			row.Ours = append(row.Ours, took)
		}
	}
	return []result.Row{row}, nil
}

// relabel moves the node and waits for an event of each slice that is concerned,
// and that there are no others.
func (w *world) relabel(ctx context.Context, events watch.Interface, pool string) (seconds float64, err error) {
	want := concerned()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, api.LabelPool, pool)
	begin := time.Now()
	if _, err := w.client.CoreV1().Nodes().Patch(ctx, nodeName(mover), mergePatch, patch, metav1.PatchOptions{}); err != nil {
		return 0, fmt.Errorf("label node: %w", err)
	}
	var last time.Time
	for wait := patience; ; {
		select {
		case e, ok := <-events.ResultChan():
			s, is := e.Object.(*discoveryv1.EndpointSlice)
			if !ok || !is || !want[s.Name] {
				return 0, fmt.Errorf("event %s of a slice that is not concerned, or of one for the second time", e.Type)
			}
			delete(want, s.Name)
			last = time.Now()
			if len(want) == 0 {
				wait = late
			}
		case <-time.After(wait):
			if len(want) > 0 {
				return 0, fmt.Errorf("no event of %d slices within %s", len(want), patience)
			}
			return last.Sub(begin).Seconds(), nil
		}
	}
}

// concerned are the slices with an endpoint on the node that moves.
func concerned() map[string]bool {
	out := map[string]bool{}
	for i := range manyServices {
		name := fmt.Sprintf("service-%04d", i)
		for e := range perService {
			if nodeOf(i, e) == mover {
				out[slice(name, i).Name] = true
			}
		}
	}
	return out
}
