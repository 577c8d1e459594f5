// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// askTimeout is how long one question may take.
const askTimeout = 10 * time.Second

// poster creates reviews of one kind, which nobody stores: what comes back is
// the answer.
type poster struct {
	client   *rest.RESTClient
	resource string
}

func newPoster(cfg *rest.Config, version schema.GroupVersion, resource string) (poster, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{authnv1.AddToScheme, authzv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return poster{}, fmt.Errorf("build scheme: %w", err)
		}
	}
	c := rest.CopyConfig(cfg)
	c.GroupVersion, c.APIPath = &version, "/apis"
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return poster{}, fmt.Errorf("make client of %s: %w", resource, err)
	}
	return poster{client, resource}, nil
}

// post sends a review and puts the answer into it.
func (p poster) post(ctx context.Context, review runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return p.client.Post().Resource(p.resource).MaxRetries(0).Body(review).Do(ctx).Into(review)
}
