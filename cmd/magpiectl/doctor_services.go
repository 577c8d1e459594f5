// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/doctor"
	"github.com/magpie-edge/magpie/cmd/magpiectl/service"
	"github.com/magpie-edge/magpie/topology"
)

// services reads what Services ask for and who follows it.
func services(ctx context.Context, k kubernetes.Interface, d dynamic.Interface, fs facts) (*doctor.Services, error) {
	out := &doctor.Services{PoolOf: map[string]string{}, Ready: map[string][]string{}}
	var err error
	if out.Served, out.Fenced, err = fs.followers(); err != nil {
		return nil, err
	}
	states, err := readers(ctx, k, d)
	if refused(err) {
		return nil, err
	}
	if err != nil { // they are configured in a way that is not known
		out.Unclear = err.Error()
	}
	for _, s := range states {
		out.Readers = append(out.Readers, doctor.Reader{Name: s.Reader, Hub: s.Hub})
	}
	for _, n := range fs.nodes {
		out.PoolOf[n.Name] = cmp.Or(n.Labels[api.LabelPool], n.Labels[api.LabelPoolACK])
	}
	for _, p := range fs.pools {
		out.Pools = append(out.Pools, p.Name)
	}
	if out.Marked, err = marked(ctx, k); err != nil {
		return nil, err
	}
	for i := range out.Marked {
		if reach, _ := topology.ReachOf(&out.Marked[i]); reach != topology.ReachAnywhere {
			out.Ready[out.Marked[i].Namespace+"/"+out.Marked[i].Name] = []string{}
		}
	}
	if len(out.Ready) == 0 {
		return out, nil
	}
	return out, readyNodes(ctx, k, out.Ready)
}

// followers says what the chart lets the agents do about the annotations: serve
// a hub, and close NodePorts in nftables.
func (f facts) followers() (hub, fence bool, err error) {
	var c struct {
		Hub struct {
			Enabled bool `json:"enabled"`
		} `json:"hub"`
		Fence string `json:"fence"`
	}
	if err := yaml.Unmarshal([]byte(f.agent["agent.yaml"]), &c); err != nil {
		return false, false, fmt.Errorf("read agent.yaml of the agents' ConfigMap: %w", err)
	}
	return c.Hub.Enabled, c.Fence == service.FenceNFTables, nil
}

// marked lists the Services with one of the two annotations.
func marked(ctx context.Context, k kubernetes.Interface) ([]corev1.Service, error) {
	var out []corev1.Service
	opt := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := k.CoreV1().Services("").List(ctx, opt)
		if err != nil {
			return nil, fmt.Errorf("list services: %w", err)
		}
		for _, s := range page.Items {
			_, pin := s.Annotations[api.AnnotationTopology]
			_, fence := s.Annotations[api.AnnotationListen]
			if pin || fence {
				out = append(out, s)
			}
		}
		if opt.Continue = page.Continue; opt.Continue == "" {
			return out, nil
		}
	}
}

// readyNodes adds to each Service of the map the nodes of its ready endpoints.
func readyNodes(ctx context.Context, k kubernetes.Interface, by map[string][]string) error {
	opt := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := k.DiscoveryV1().EndpointSlices("").List(ctx, opt)
		if err != nil {
			return fmt.Errorf("list endpointslices: %w", err)
		}
		for _, s := range page.Items {
			name := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
			if nodes, ok := by[name]; ok {
				by[name] = append(nodes, nodesOf(s)...)
			}
		}
		if opt.Continue = page.Continue; opt.Continue == "" {
			return nil
		}
	}
}

func nodesOf(s discoveryv1.EndpointSlice) []string {
	var out []string
	for _, e := range s.Endpoints {
		if e.NodeName != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
			out = append(out, *e.NodeName)
		}
	}
	return out
}
