// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"

	"k8s.io/client-go/rest"
)

// direct reads and writes single objects of one kind without a store: requests
// for certificates, reviews, and what must be written with a precondition.
type direct struct {
	client *rest.RESTClient
	kind   kind
}

func newDirect(cfg *rest.Config, k kind) (direct, error) {
	client, err := clientOf(cfg, k)
	return direct{client, k}, err
}

// get reads o anew, by its namespace and name.
func (d direct) get(ctx context.Context, o object) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return d.client.Get().NamespaceIfScoped(o.GetNamespace(), o.GetNamespace() != "").
		Resource(d.kind.resource).Name(o.GetName()).Do(ctx).Into(o)
}

// create makes o, and returns in it what the API server made of it.
func (d direct) create(ctx context.Context, o object) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return d.client.Post().NamespaceIfScoped(o.GetNamespace(), o.GetNamespace() != "").
		Resource(d.kind.resource).Body(o).Do(ctx).Into(o)
}

// update writes o, or a part of it, if nobody has since its resourceVersion.
func (d direct) update(ctx context.Context, o object, subresource ...string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return d.client.Put().NamespaceIfScoped(o.GetNamespace(), o.GetNamespace() != "").
		Resource(d.kind.resource).Name(o.GetName()).SubResource(subresource...).Body(o).Do(ctx).Into(o)
}
