// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// longestPause is the longest time (it is doubled at random) between two tries
// to reach an API server that has gone. Client-go waits three times as long;
// Services must not be late for that when the line is back.
const longestPause = 10 * time.Second

// Run keeps the truth up to date until ctx ends, and on disk what is newest of
// it. It returns an error only when it cannot begin. It is called once.
func (s *Store) Run(ctx context.Context) error {
	feeds := map[Kind]func(context.Context){}
	for _, k := range Kinds() {
		r, err := s.reflector(k)
		if err != nil {
			return err
		}
		feeds[k] = r
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		for _, sh := range s.begin() {
			wg.Go(func() { feeds[sh.kind](ctx) })
			wg.Go(func() { s.keep(ctx, sh) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// begin returns the kinds that are wanted and were not before.
func (s *Store) begin() []*shelf {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*shelf
	for _, k := range Kinds() {
		if sh := s.shelves[k]; sh.wanted && !sh.started {
			sh.started = true
			out = append(out, sh)
		}
	}
	return out
}

// reflector returns what keeps the truth of a kind until its context ends.
func (s *Store) reflector(k Kind) (func(context.Context), error) {
	if s.o.Config == nil {
		return func(context.Context) {}, nil
	}
	into := s.into(k)
	client, err := clientOf(s.o.Config, k, func(next http.RoundTripper) http.RoundTripper {
		return ear{next, s.line, into.alive}
	})
	if err != nil {
		return nil, err
	}
	selector := fields.Everything()
	if k == Nodes {
		selector = fields.OneTermEqualSelector(metav1.ObjectNameField, s.o.Node)
	}
	lw := cache.NewListWatchFromClient(client, k.Resource, metav1.NamespaceAll, selector)
	r := cache.NewReflectorWithOptions(&overheard{ListWatch: lw, line: s.line, kind: k}, k.empty(), into, cache.ReflectorOptions{
		Name:    "hub " + k.Resource,
		Backoff: &wait.Backoff{Duration: time.Second / 2, Factor: 2, Jitter: 1, Steps: 6, Cap: longestPause},
	})
	return r.RunWithContext, nil
}

// clientOf makes a client of one kind. Client-go's own typed clients would link
// the types of every API group there is.
func clientOf(cfg *rest.Config, k Kind, listen func(http.RoundTripper) http.RoundTripper) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	c := rest.CopyConfig(cfg)
	c.Wrap(listen)
	c.Timeout = 0 // a watch lasts
	c.GroupVersion = &k.GroupVersion
	c.APIPath = "/apis"
	if k.GroupVersion.Group == "" {
		c.APIPath = "/api"
	}
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.ContentType = runtime.ContentTypeProtobuf
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make client of %s: %w", k.Resource, err)
	}
	return client, nil
}
