// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"strings"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	certv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
	reviewKind    = kind{"TokenReview", "tokenreviews", authnv1.SchemeGroupVersion, func() runtime.Object { return &authnv1.TokenReview{} }}
	accessKind    = kind{"SubjectAccessReview", "subjectaccessreviews", authzv1.SchemeGroupVersion, func() runtime.Object { return &authzv1.SubjectAccessReview{} }}
	endpointKind  = kind{"EndpointSlice", "endpointslices", discoveryv1.SchemeGroupVersion, func() runtime.Object { return &discoveryv1.EndpointSlice{} }}
	secretKind    = kind{"Secret", "secrets", corev1.SchemeGroupVersion, func() runtime.Object { return &corev1.Secret{} }}
	serviceKind   = kind{"Service", "services", corev1.SchemeGroupVersion, func() runtime.Object { return &corev1.Service{} }}
	poolKind      = kind{"NodePool", "nodepools", appsv1beta2.GroupVersion, func() runtime.Object { return &appsv1beta2.NodePool{} }}
	gatewayKind   = kind{"Gateway", "gateways", ravenv1beta1.GroupVersion, func() runtime.Object { return &ravenv1beta1.Gateway{} }}
	sliceKind     = kind{"DomainSlice", "domainslices", v1alpha1.GroupVersion, func() runtime.Object { return &v1alpha1.DomainSlice{} }}
	reportKind    = kind{"LinkReport", "linkreports", v1alpha1.GroupVersion, func() runtime.Object { return &v1alpha1.LinkReport{} }}
)

// requestKind is the requests to one signer, which are watched by themselves:
// kubelets' are most of all there are.
func requestKind(signer string) kind {
	return kind{
		"CertificateSigningRequest " + signer, "certificatesigningrequests", certv1.SchemeGroupVersion,
		func() runtime.Object { return &certv1.CertificateSigningRequest{} },
	}
}

// Scheme returns a scheme that knows every kind this package deals with.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, authnv1.AddToScheme, authzv1.AddToScheme,
		certv1.AddToScheme, discoveryv1.AddToScheme, appsv1beta2.AddToScheme, ravenv1beta1.AddToScheme, v1alpha1.AddToScheme,
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
	client, err := clientOf(cfg, k)
	if err != nil {
		return nil, err
	}
	return cache.NewListWatchFromClient(client, k.resource, namespace, selector), nil
}

// clientOf makes a client of one kind. Client-go's own typed clients would link
// the types of every API group there is into an agent.
func clientOf(cfg *rest.Config, k kind) (*rest.RESTClient, error) {
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
	}
	if k.version.Group == "" || strings.HasSuffix(k.version.Group, ".k8s.io") { // built in
		c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		c.ContentType = runtime.ContentTypeProtobuf
	}
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make client of %s: %w", k.resource, err)
	}
	return client, nil
}
