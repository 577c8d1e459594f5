// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/topology"
)

// The cluster of issue 4's table.
const (
	manyNodes    = 1000
	manyPools    = 50
	manyServices = 5000
	perService   = 10 // endpoints
)

const (
	podRange  = "10.42.0.0/16"
	nodeAddr  = "10.9.0.1" // of whichever node: they do not reach each other
	namespace = "shop"
	// writers is how many objects are written at once.
	writers = 16
)

func nodeName(i int) string { return fmt.Sprintf("node-%04d", i) }

func poolName(i int) string { return fmt.Sprintf("pool-%02d", i%manyPools) }

// clientOf is a client that reads and writes protobuf, as Kubernetes' own
// components do.
func clientOf(cfg *rest.Config) (*kubernetes.Clientset, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return c, nil
}

// each calls write for every number below n, several at once.
func each(ctx context.Context, n int, write func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for i := range n {
		g.Go(func() error { return write(ctx, i) })
	}
	return g.Wait()
}

// createNode makes the i-th node, with a range for its pods.
func createNode(ctx context.Context, c *kubernetes.Clientset, i int) error {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{api.LabelPool: poolName(i)}}}
	n.Spec.PodCIDR = fmt.Sprintf("10.42.%d.%d/26", i/4, i%4*64)
	n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	if _, err := c.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node: %w", err)
	}
	// The manager writes labels of its pool meanwhile.
	status := fmt.Appendf(nil, `{"status":{"addresses":[{"type":%q,"address":%q}]}}`, corev1.NodeInternalIP, nodeAddr)
	if _, err := c.CoreV1().Nodes().Patch(ctx, n.Name, mergePatch, status, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("write address of node: %w", err)
	}
	return nil
}

// createPools makes all pools of edge nodes.
func createPools(ctx context.Context, s *apiserver.Server) error {
	var text strings.Builder
	for i := range manyPools {
		fmt.Fprintf(&text, "---\napiVersion: %s\nkind: NodePool\nmetadata: {name: %s}\nspec: {type: %s}\n",
			appsv1beta2.GroupVersion, poolName(i), appsv1beta2.Edge)
	}
	return s.ApplyYAML(ctx, text.String())
}

// service is one that stays in the pool, if it shall.
func service(name string, pinned bool) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: namespace, Labels: map[string]string{"app": name, "app.kubernetes.io/managed-by": "Helm"},
		Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: strings.Repeat("x", 400)},
	}}
	if pinned {
		s.Annotations[api.AnnotationTopology] = string(topology.ReachPool)
	}
	s.Spec.Selector = map[string]string{"app": name}
	s.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80}}
	return s
}

// nodeOf is where an endpoint of one of the many Services runs.
func nodeOf(service, endpoint int) int { return (service*perService + endpoint*101) % manyNodes }

// slice has all endpoints of a Service, described as its controller does.
func slice(name string, number int) *discoveryv1.EndpointSlice {
	port, web, tcp := int32(8080), "web", corev1.ProtocolTCP
	yes, no, zone := true, false, "cn-hangzhou-b"
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	s.Name, s.Namespace = name+"-abcde", namespace
	s.Labels = map[string]string{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"}
	s.Ports = []discoveryv1.EndpointPort{{Name: &web, Port: &port, Protocol: &tcp}}
	for e := range perService {
		node := nodeName(nodeOf(number, e))
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.42.%d.%d", number%250, e+1)}, NodeName: &node, Zone: &zone,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			TargetRef: &corev1.ObjectReference{
				Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("%s-6d4b75cb6d-%05d", name, e), UID: "5b1ad4d5-0c7e-4f0d-9c5b-5f6b2a1f0e11",
			},
		})
	}
	return s
}

// create makes a Service with its slice.
func create(ctx context.Context, c *kubernetes.Clientset, svc *corev1.Service, s *discoveryv1.EndpointSlice) error {
	if _, err := c.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create service: %w", err)
	}
	if _, err := c.DiscoveryV1().EndpointSlices(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create slice: %w", err)
	}
	return nil
}

// createMany makes the rest of the nodes, and all of the many Services.
func createMany(ctx context.Context, c *kubernetes.Clientset) error {
	err := each(ctx, manyNodes, func(ctx context.Context, i int) error {
		if i == throughHub || i == pastHub {
			return nil // there from the start
		}
		return createNode(ctx, c, i)
	})
	if err != nil {
		return err
	}
	return each(ctx, manyServices, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("service-%04d", i)
		return create(ctx, c, service(name, true), slice(name, i))
	})
}
