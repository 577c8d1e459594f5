// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/tunnel/directory"
)

// indexGap is how long changes are gathered before the index is made anew: with
// 5,000 nodes that is some 10 ms of work, and in a busy cluster endpoints change
// all the time.
const indexGap = 200 * time.Millisecond

// DirectoryOptions say what a gateway is.
type DirectoryOptions struct {
	// Namespace and Service of the headless Service whose endpoints are the
	// instances of the gateway.
	Namespace, Service string
	// Now is the clock.
	Now func() time.Time
	Log *slog.Logger
}

// Directory is the door of magpie-gateway: who is where, which nodes are gone,
// and what a caller may do.
type Directory struct {
	*access
	stores *stores
	o      DirectoryOptions
	bell   bell
	index  atomic.Pointer[directory.Index] // nil until all is known
	turn   atomic.Uint64
	gone   chan Removed
}

// Removed is a Node that is no more.
type Removed = directory.Removed

// Instance is one gateway.
type Instance = directory.Instance

// NewDirectory makes the door; it does not connect.
func NewDirectory(cfg *rest.Config, o DirectoryOptions) (*Directory, error) {
	access, err := newAccess(cfg, o.Now)
	if err != nil {
		return nil, err
	}
	d := &Directory{access: access, stores: newStores(), o: o, gone: make(chan Removed)}
	for _, k := range []kind{nodeKind, serviceKind, endpointKind, sliceKind} {
		if err := d.stores.watch(cfg, k, "", fields.Everything(), trimDirectory); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Run watches until ctx ends and returns ctx.Err().
func (d *Directory) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	removed := make(chan []Removed)
	wg.Go(func() { d.stores.run(ctx) })
	wg.Go(func() { d.follow(ctx, removed) })
	wg.Go(func() { d.tell(ctx, removed) })
	wg.Wait()
	return ctx.Err()
}

// follow makes the index anew after changes.
func (d *Directory) follow(ctx context.Context, removed chan<- []Removed) {
	ear := d.stores.listen()
	for ctx.Err() == nil {
		sleep(ctx, time.Hour, ear)
		if d.stores.ready() != nil || ctx.Err() != nil {
			continue
		}
		now := directory.New(directory.Objects{
			Nodes:     all[*corev1.Node](d.stores, nodeKind),
			Services:  all[*corev1.Service](d.stores, serviceKind),
			Endpoints: all[*discoveryv1.EndpointSlice](d.stores, endpointKind),
			Slices:    all[*v1alpha1.DomainSlice](d.stores, sliceKind),
		})
		var gone []Removed
		if was := d.index.Swap(now); was != nil {
			gone = now.Gone(was)
		}
		if len(gone) > 0 {
			select {
			case removed <- gone:
			case <-ctx.Done():
			}
		}
		d.bell.ring()
		sleep(ctx, indexGap, nil)
	}
}

// tell hands out what is gone, at the reader's pace.
func (d *Directory) tell(ctx context.Context, removed <-chan []Removed) {
	var waiting []Removed
	for {
		var out chan<- Removed // nil: nothing to hand out
		var first Removed
		if len(waiting) > 0 {
			out, first = d.gone, waiting[0]
		}
		select {
		case <-ctx.Done():
			return
		case more := <-removed:
			waiting = append(waiting, more...)
		case out <- first:
			waiting = waiting[1:]
		}
	}
}

// Ready returns reconcile.ErrNotReady until the API has said everything once.
func (d *Directory) Ready() error {
	if d.index.Load() == nil {
		return reconcile.ErrNotReady
	}
	return nil
}

// Changed returns a new channel that receives after each change.
func (d *Directory) Changed() <-chan struct{} { return d.bell.listen() }

// Removed delivers each Node that was deleted, or made again with another UID.
// It has one reader; nothing is lost while that is busy.
func (d *Directory) Removed() <-chan Removed { return d.gone }

// NodeUID returns the UID of a Node; false when there is no such Node, or
// nothing is known yet.
func (d *Directory) NodeUID(name string) (uid string, ok bool) {
	x := d.index.Load()
	if x == nil {
		return "", false
	}
	return x.NodeUID(name)
}

// Resolve finds the ways to host and port, best first; its errors are those of
// package directory, or reconcile.ErrNotReady.
func (d *Directory) Resolve(host string, port uint16) ([]directory.Route, error) {
	x := d.index.Load()
	if x == nil {
		return nil, reconcile.ErrNotReady
	}
	routes, err := x.Resolve(host, port)
	if err != nil {
		return nil, err
	}
	return directory.Turn(routes, d.turn.Add(1)), nil
}

// Instances are all gateway instances, sorted by name.
func (d *Directory) Instances() []Instance {
	x := d.index.Load()
	if x == nil {
		return nil
	}
	return x.Instances(d.o.Namespace, d.o.Service)
}

// trimDirectory keeps what an index is made of.
func trimDirectory(o any) (any, error) {
	switch o := o.(type) {
	case *corev1.Node:
		out := &corev1.Node{ObjectMeta: bareMeta(o)}
		if mode := o.Labels[api.LabelInterconnection]; mode != "" {
			out.Labels = map[string]string{api.LabelInterconnection: mode}
		}
		out.Spec.PodCIDRs, out.Status.Addresses = o.Spec.PodCIDRs, o.Status.Addresses
		return out, nil
	case *corev1.Service:
		out := &corev1.Service{ObjectMeta: bareMeta(o)}
		out.Spec.Type, out.Spec.ClusterIPs, out.Spec.Ports = o.Spec.Type, o.Spec.ClusterIPs, o.Spec.Ports
		return out, nil
	case *discoveryv1.EndpointSlice:
		out := &discoveryv1.EndpointSlice{ObjectMeta: bareMeta(o), AddressType: o.AddressType, Ports: o.Ports}
		out.Labels = map[string]string{discoveryv1.LabelServiceName: o.Labels[discoveryv1.LabelServiceName]}
		for _, e := range o.Endpoints {
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
				Addresses: e.Addresses, Conditions: e.Conditions, NodeName: e.NodeName, TargetRef: e.TargetRef,
			})
		}
		return out, nil
	case *v1alpha1.DomainSlice:
		out := &v1alpha1.DomainSlice{ObjectMeta: bareMeta(o)}
		out.Spec.Domain, out.Spec.Cloud, out.Spec.Private = o.Spec.Domain, o.Spec.Cloud, o.Spec.Private
		for _, n := range o.Spec.Nodes {
			out.Spec.Nodes = append(out.Spec.Nodes, v1alpha1.SliceNode{Name: n.Name})
		}
		return out, nil
	}
	return o, nil
}

func bareMeta(o object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}
}
