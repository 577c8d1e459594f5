// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/test/bench/result"
)

const (
	// changesARound is how often an endpoint is changed in a round.
	changesARound = 80
	// patience is how long a change may take to be seen.
	patience = 10 * time.Second
	// pause is how long both kube-proxies have to come to rest.
	pause = 30 * time.Millisecond
)

// endpoints compares when the two nodes' kernels have the rule for a new
// endpoint.
func (w *world) endpoints(ctx context.Context, rounds int) ([]result.Row, error) {
	if err := w.near.startProxy(ctx, w.near.through); err != nil {
		return nil, err
	}
	if err := w.far.startProxy(ctx, w.far.direct); err != nil {
		return nil, err
	}
	s := slice("till", 0)
	if err := create(ctx, w.client, service("till", false), s); err != nil {
		return nil, err
	}
	change := func(n int) (near, far float64, err error) {
		addr := netip.AddrFrom4([4]byte{10, 42, byte(200 + n/250), byte(1 + n%250)})
		s.Endpoints[0].Addresses = []string{addr.String()}
		for _, h := range []*host{w.near, w.far} {
			h.rules.expect(netip.AddrPortFrom(addr, uint16(*s.Ports[0].Port)))
		}
		begin := time.Now()
		if _, err := w.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			return 0, 0, fmt.Errorf("update slice: %w", err)
		}
		return w.seen(begin)
	}
	// kube-proxy begins with everything that it finds.
	n := 0
	if err := until(ctx, "both kube-proxies work", func() error { n++; _, _, err := change(n); return err }); err != nil {
		return nil, err
	}
	p50 := result.Row{What: "endpoint p50", Unit: "s", Peer: "kube-proxy on the API server", Above: 5e-3}
	p99 := result.Row{What: "endpoint p99", Unit: "s", Peer: "kube-proxy on the API server", Above: 20e-3}
	var ours, theirs []float64
	for range rounds {
		var near, far []float64
		for range changesARound {
			n++
			ns, fs, err := change(n)
			if err != nil {
				return nil, err
			}
			near, far = append(near, ns), append(far, fs)
			time.Sleep(pause)
		}
		p50.Ours, p50.Theirs = append(p50.Ours, result.Median(near)), append(p50.Theirs, result.Median(far))
		ours, theirs = append(ours, near...), append(theirs, far...)
	}
	p99.Ours, p99.Theirs = []float64{result.Percentile(ours, 99)}, []float64{result.Percentile(theirs, 99)}
	return []result.Row{p50, p99}, nil
}

// seen returns how long after begin each node had the rule.
func (w *world) seen(begin time.Time) (near, far float64, err error) {
	n, err := w.near.rules.await(patience)
	if err != nil {
		return 0, 0, fmt.Errorf("through the hub: %w", err)
	}
	f, err := w.far.rules.await(patience)
	if err != nil {
		return 0, 0, fmt.Errorf("past the hub: %w", err)
	}
	return n.Sub(begin).Seconds(), f.Sub(begin).Seconds(), nil
}
