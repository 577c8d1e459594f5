// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
)

// kind is one kind of object that we read or write.
type kind struct {
	name     string // "DomainSlice"
	resource string // "domainslices"
	version  schema.GroupVersion
	empty    func() runtime.Object
}

func (k kind) gvr() schema.GroupVersionResource { return k.version.WithResource(k.resource) }

// The kinds we deal with. A kind that is not here cannot be written.
var (
	nodeKind      = kind{"Node", "nodes", corev1.SchemeGroupVersion, func() runtime.Object { return &corev1.Node{} }}
	configMapKind = kind{"ConfigMap", "configmaps", corev1.SchemeGroupVersion, func() runtime.Object { return &corev1.ConfigMap{} }}
	serviceKind   = kind{"Service", "services", corev1.SchemeGroupVersion, func() runtime.Object { return &corev1.Service{} }}
	poolKind      = kind{"NodePool", "nodepools", appsv1beta2.GroupVersion, func() runtime.Object { return &appsv1beta2.NodePool{} }}
	gatewayKind   = kind{"Gateway", "gateways", ravenv1beta1.GroupVersion, func() runtime.Object { return &ravenv1beta1.Gateway{} }}
	sliceKind     = kind{"DomainSlice", "domainslices", v1alpha1.GroupVersion, func() runtime.Object { return &v1alpha1.DomainSlice{} }}
	reportKind    = kind{"LinkReport", "linkreports", v1alpha1.GroupVersion, func() runtime.Object { return &v1alpha1.LinkReport{} }}
)

// Scheme returns a scheme that knows every kind this package deals with.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1beta2.AddToScheme, ravenv1beta1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("build scheme: %w", err)
		}
	}
	return s, nil
}

// lister makes what lists and watches one kind; selector may leave most of the
// objects on the server.
func lister(cfg *rest.Config, k kind, namespace string, selector fields.Selector) (cache.ListerWatcher, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	c := rest.CopyConfig(cfg)
	c.GroupVersion = &k.version
	c.APIPath = "/apis"
	c.ContentType = runtime.ContentTypeJSON
	if k.version.Group == "" {
		c.APIPath = "/api"
		c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		c.ContentType = runtime.ContentTypeProtobuf
	}
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make client of %s: %w", k.resource, err)
	}
	return cache.NewListWatchFromClient(client, k.resource, namespace, selector), nil
}
