// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// Manager is the door of magpie-manager: all Nodes, NodePools, Gateways,
// LinkReports and DomainSlices, and where magpie-gateway is dialled.
type Manager struct {
	client dynamic.Interface
	stores *stores
	// namespace of the Service in front of magpie-gateway.
	namespace string
}

// NewManager makes the door; it does not connect. namespace is our own, where
// magpie-gateway and its Service are, too.
func NewManager(cfg *rest.Config, namespace string) (*Manager, error) {
	cfg = rest.CopyConfig(cfg)
	// Client-go's own limit of five writes a second would make a first round in
	// a large cluster take minutes; the API server's fair queuing is the limit.
	cfg.QPS = cmp.Or(cfg.QPS, 100)
	cfg.Burst = cmp.Or(cfg.Burst, 200)
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	m := &Manager{client: client, stores: newStores(), namespace: namespace}
	for _, k := range []kind{nodeKind, poolKind, gatewayKind, reportKind, sliceKind} {
		if err := m.stores.watch(cfg, k, "", fields.Everything(), trimManager); err != nil {
			return nil, err
		}
	}
	raven := fields.OneTermEqualSelector("metadata.name", api.RavenConfigName)
	if err := m.stores.watch(cfg, configMapKind, api.RavenConfigNamespace, raven, trimManager); err != nil {
		return nil, err
	}
	tunnel := fields.OneTermEqualSelector("metadata.name", api.TunnelServiceName)
	if err := m.stores.watch(cfg, serviceKind, namespace, tunnel, trimManager); err != nil {
		return nil, err
	}
	return m, nil
}

// Run watches until ctx ends and returns ctx.Err().
func (m *Manager) Run(ctx context.Context) error {
	m.stores.run(ctx)
	return ctx.Err()
}

// Ready returns reconcile.ErrNotReady until the API has said everything once.
func (m *Manager) Ready() error { return m.stores.ready() }

// Objects returns what the API last said; reconcile.ErrNotReady until it has
// said everything once. What it points to must not be changed.
func (m *Manager) Objects() (fleet.Cluster, error) {
	if err := m.stores.ready(); err != nil {
		return fleet.Cluster{}, err
	}
	out := fleet.Cluster{
		Nodes:    all[*corev1.Node](m.stores, nodeKind),
		Pools:    all[*appsv1beta2.NodePool](m.stores, poolKind),
		Gateways: all[*ravenv1beta1.Gateway](m.stores, gatewayKind),
		Reports:  all[*v1alpha1.LinkReport](m.stores, reportKind),
		Slices:   all[*v1alpha1.DomainSlice](m.stores, sliceKind),
	}
	if c, ok := m.stores.get(configMapKind.name, api.RavenConfigNamespace, api.RavenConfigName).(*corev1.ConfigMap); ok {
		out.RavenConfig = c.Data
	}
	if s, ok := m.stores.get(serviceKind.name, m.namespace, api.TunnelServiceName).(*corev1.Service); ok {
		out.TunnelService = s
	}
	return out, nil
}

// Wake returns a new channel that receives after every change of Objects.
func (m *Manager) Wake() <-chan struct{} { return m.stores.listen() }

// Manifests returns the world of one loop.
func (m *Manager) Manifests(s Scope) reconcile.World[[]plan.Manifest] {
	return &world{client: m.client, stores: m.stores, scope: s}
}

// trimManager keeps of a Node what the planners look at: with 5,000 nodes the
// lists of images alone would be hundreds of megabytes. What kubelet refreshes
// every few seconds is cut off, so that it wakes nobody.
func trimManager(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	out := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, CreationTimestamp: n.CreationTimestamp,
		Labels: n.Labels, Annotations: n.Annotations, DeletionTimestamp: n.DeletionTimestamp,
		ManagedFields: fleet.Claims(n),
	}}
	out.Spec.PodCIDR, out.Spec.PodCIDRs, out.Spec.Taints = n.Spec.PodCIDR, n.Spec.PodCIDRs, n.Spec.Taints
	out.Status.Addresses = n.Status.Addresses
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
			if c.Status == corev1.ConditionFalse {
				out.Status.Conditions[0].Message = c.Message // elections ask why
			}
		}
	}
	return out, nil
}
