// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"strconv"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/test/bench/result"
)

const (
	// watchedServices with an EndpointSlice each, all different, are there.
	watchedServices = 100
	// changesWatched is how many objects change in a round: four of five are
	// slices, as in a cluster where pods come and go.
	changesWatched = 100
	// quiet is for how long no byte comes when all has come.
	quiet = 300 * time.Millisecond
)

// watched compares what the API server sends to two nodes with the same three
// programs, when they begin and for the same changes.
func (w *world) watched(ctx context.Context, rounds int) ([]result.Row, error) {
	err := each(ctx, watchedServices, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("watched-%03d", i)
		return create(ctx, w.client, service(name, false), slice(name, i))
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, reads := range []struct {
		*host
		from *rest.Config
	}{{w.near, w.near.through}, {w.far, w.far.direct}} {
		if err := reads.startDNS(ctx, reads.from); err != nil {
			return nil, err
		}
		if err := startIngress(ctx, reads.from); err != nil {
			return nil, err
		}
	}
	row := result.Row{What: "watched", Unit: "B", Peer: "the same three on the API server", AtMost: 0.5}
	for round := range rounds {
		w.still()
		near, far := w.near.relay.down.Load(), w.far.relay.down.Load()
		if err := w.change(ctx, round); err != nil {
			return nil, err
		}
		w.still()
		row.Ours = append(row.Ours, float64(w.near.relay.down.Load()-near))
		row.Theirs = append(row.Theirs, float64(w.far.relay.down.Load()-far))
	}
	for _, h := range []*host{w.near, w.far} {
		for _, name := range []string{"kube-proxy", "coredns"} {
			if err := h.end(name); err != nil {
				return nil, err
			}
		}
	}
	return []result.Row{row}, nil
}

// still returns when neither node has been sent anything for a while.
func (w *world) still() {
	const most = 10 * time.Second
	last, since := int64(-1), time.Now()
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(quiet / 10) {
		n := w.near.relay.down.Load() + w.far.relay.down.Load()
		if n != last {
			last, since = n, time.Now()
		} else if time.Since(since) > quiet {
			return
		}
	}
}

// change is one series of changes, one after the other.
func (w *world) change(ctx context.Context, round int) error {
	for n := range changesWatched {
		i := n % watchedServices
		name := fmt.Sprintf("watched-%03d", i)
		if n%5 == 0 {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/round":%q}}}`, strconv.Itoa(round))
			if _, err := w.client.CoreV1().Services(namespace).Patch(ctx, name, mergePatch, patch, metav1.PatchOptions{}); err != nil {
				return fmt.Errorf("patch service: %w", err)
			}
			continue
		}
		s := slice(name, i)
		moved := fmt.Sprintf("10.42.%d.%d", 100+round%100, 1+n)
		s.Endpoints = append(s.Endpoints[1:], discoveryv1.Endpoint{
			Addresses: []string{moved}, NodeName: s.Endpoints[0].NodeName, Zone: s.Endpoints[0].Zone,
			Conditions: s.Endpoints[0].Conditions, TargetRef: s.Endpoints[0].TargetRef,
		})
		if _, err := w.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update slice: %w", err)
		}
	}
	return nil
}
