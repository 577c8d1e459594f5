// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/api"
	poolsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
)

// agentLabels select what the chart installs for the agent: its ConfigMap and
// its DaemonSet, whatever the namespace of the release.
const agentLabels = "app.kubernetes.io/name=magpie,app.kubernetes.io/component=agent"

// Kinds that client-go has no types for.
var (
	slicesKind   = schema.GroupVersionResource{Group: api.GroupMagpie, Version: "v1alpha1", Resource: "domainslices"}
	reportsKind  = schema.GroupVersionResource{Group: api.GroupMagpie, Version: "v1alpha1", Resource: "linkreports"}
	gatewaysKind = schema.GroupVersionResource{Group: "raven.openyurt.io", Version: "v1beta1", Resource: "gateways"}
	poolsKind    = schema.GroupVersionResource{Group: "apps.openyurt.io", Version: "v1beta2", Resource: "nodepools"}
)

// facts is what the API says of the network, as status and trace need it.
type facts struct {
	nodes    []corev1.Node
	slices   []v1alpha1.DomainSlice
	gateways []ravenv1beta1.Gateway
	pools    []poolsv1beta2.NodePool
	reports  []v1alpha1.LinkReport
	raven    map[string]string // data of ConfigMap raven-cfg; nil if there is none
	agent    map[string]string // data of the agent's ConfigMap; nil if there is none
}

// gather lists everything at once.
func gather(ctx context.Context, k kubernetes.Interface, d dynamic.Interface) (facts, error) {
	var f facts
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		f.nodes, err = listNodes(ctx, k)
		return err
	})
	g.Go(func() (err error) { return list(ctx, d, slicesKind, &f.slices) })
	g.Go(func() (err error) { return list(ctx, d, gatewaysKind, &f.gateways) })
	g.Go(func() (err error) { return list(ctx, d, poolsKind, &f.pools) })
	g.Go(func() (err error) { return list(ctx, d, reportsKind, &f.reports) })
	g.Go(func() error {
		maps, err := k.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{LabelSelector: agentLabels})
		if err != nil {
			return fmt.Errorf("list configmaps: %w", err)
		}
		if len(maps.Items) > 0 {
			f.agent = maps.Items[0].Data
		}
		return nil
	})
	g.Go(func() error {
		maps, err := k.CoreV1().ConfigMaps(api.RavenConfigNamespace).List(ctx, metav1.ListOptions{
			FieldSelector: "metadata.name=" + api.RavenConfigName,
		})
		if err != nil {
			return fmt.Errorf("list configmaps: %w", err)
		}
		if len(maps.Items) > 0 {
			f.raven = maps.Items[0].Data
		}
		return nil
	})
	return f, g.Wait()
}

// pageSize of a list: 5,000 nodes are not one answer.
const pageSize = 500

func listNodes(ctx context.Context, k kubernetes.Interface) ([]corev1.Node, error) {
	var out []corev1.Node
	opt := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := k.CoreV1().Nodes().List(ctx, opt)
		if err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		out = append(out, page.Items...)
		if opt.Continue = page.Continue; opt.Continue == "" {
			break
		}
	}
	slices.SortFunc(out, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// list reads every object of a kind into out.
func list[T any](ctx context.Context, d dynamic.Interface, kind schema.GroupVersionResource, out *[]T) error {
	opt := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := d.Resource(kind).List(ctx, opt)
		if err != nil {
			return fmt.Errorf("list %s.%s: %w", kind.Resource, kind.Group, err)
		}
		for _, u := range page.Items {
			var t T
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &t); err != nil {
				return fmt.Errorf("decode %s %s: %w", kind.Resource, u.GetName(), err)
			}
			*out = append(*out, t)
		}
		if opt.Continue = page.GetContinue(); opt.Continue == "" {
			return nil
		}
	}
}

// view is the fleet as nobody in particular sees it: without a Self.
func (f facts) view(e *env) (fleet.View, []string, error) {
	settings, err := f.settings()
	if err != nil {
		return fleet.View{}, nil, err
	}
	v, problems, err := fleet.Build(fleet.Objects{Node: &corev1.Node{}, Slices: f.slices}, fleet.Host{Now: e.now().UTC()}, settings)
	v.Self = fleet.Self{}
	return v, problems, err
}

// settings are those the chart gave the agents; without its ConfigMap what an
// agent would take as default, with the pod CIDRs of all nodes as the
// cluster's.
func (f facts) settings() (fleet.Settings, error) {
	var c struct {
		ClusterCIDRs  []string `json:"clusterCIDRs"`
		NonMasquerade []string `json:"nonMasquerade"`
		VNI           int      `json:"vni"`
		Port          int      `json:"port"`
		MTU           int      `json:"mtu"`
		Hub           struct {
			Enabled bool `json:"enabled"`
		} `json:"hub"`
	}
	if err := yaml.Unmarshal([]byte(f.agent["agent.yaml"]), &c); err != nil {
		return fleet.Settings{}, fmt.Errorf("decode agent.yaml of the agents' ConfigMap: %w", err)
	}
	if len(c.ClusterCIDRs) == 0 {
		for _, n := range f.nodes {
			c.ClusterCIDRs = append(c.ClusterCIDRs, n.Spec.PodCIDRs...)
		}
	}
	s := fleet.Settings{
		VNI: cmp.Or(c.VNI, api.VNI), Port: cmp.Or(c.Port, api.PortVXLAN), MTU: c.MTU, Hub: c.Hub.Enabled,
		Links: true, // switched off, the gateways are taken out of the slices
	}
	var err error
	if s.ClusterCIDRs, err = prefixes(c.ClusterCIDRs); err == nil {
		s.NonMasquerade, err = prefixes(c.NonMasquerade)
	}
	return s, err
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, t := range texts {
		p, err := netip.ParsePrefix(strings.TrimSpace(t))
		if err != nil {
			return nil, fmt.Errorf("CIDR %q: %w", t, err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// linkless reports whether an operator has switched links off.
func (f facts) linkless() bool { return f.raven[api.RavenEnableL3] == "false" }

func nodeReady(n corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
