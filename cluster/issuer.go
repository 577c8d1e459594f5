// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	certv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// Issuer is the manager's door to the tunnel's authority: its Secret, the
// bundle, and the requests for certificates. Its watches are its own, so that
// a manager that may not read Secrets goes on with everything else.
type Issuer struct {
	secrets  direct
	requests direct
	bundle   dynamic.Interface
	stores   *stores
	fleet    *Manager
	clock    *clock
	o        IssuerOptions
}

// IssuerOptions say how requests are answered.
type IssuerOptions struct {
	// Namespace of the ServiceAccounts of agents and gateways.
	Namespace string
	// Now is the clock of this machine, which may be wrong.
	Now func() time.Time
	Log *slog.Logger
	// Answered, if not nil, is told of every request that was answered; it is
	// called from several goroutines.
	Answered func(identity.Decision)
}

// NewIssuer makes the door; it does not connect. Nodes are those of fleet,
// which somebody else runs.
func NewIssuer(cfg *rest.Config, fleet *Manager, o IssuerOptions) (*Issuer, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = 200, 400 // two writes a node, and all nodes may ask at once
	i := &Issuer{stores: newStores(), fleet: fleet, o: o, clock: &clock{local: o.Now, log: o.Log}}
	cfg = i.clock.on(cfg)
	var errs [3]error
	i.secrets, errs[0] = newDirect(cfg, secretKind)
	i.requests, errs[1] = newDirect(cfg, requestKind(""))
	i.bundle, errs[2] = dynamic.NewForConfig(cfg)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	named := fields.OneTermEqualSelector("metadata.name", api.TunnelCAName)
	for _, w := range []struct {
		kind      kind
		namespace string
		selector  fields.Selector
	}{
		{secretKind, api.TunnelCANamespace, named},
		{configMapKind, api.TunnelCANamespace, named},
		{requestKind(api.SignerAgent), "", fields.OneTermEqualSelector("spec.signerName", api.SignerAgent)},
		{requestKind(api.SignerGateway), "", fields.OneTermEqualSelector("spec.signerName", api.SignerGateway)},
	} {
		if err := i.stores.watch(cfg, w.kind, w.namespace, w.selector, trimIssuer); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// Run watches until ctx ends and returns ctx.Err().
func (i *Issuer) Run(ctx context.Context) error {
	i.stores.run(ctx)
	return ctx.Err()
}

// Wake returns a new channel that receives after every change of what the
// Issuer reads, Nodes included: a request may have to wait for one.
func (i *Issuer) Wake() <-chan struct{} {
	ear := make(chan struct{}, 1)
	i.stores.join(ear)
	i.fleet.stores.join(ear)
	return ear
}

// ready asks of the fleet for the Nodes only: certificates wait for nothing else.
func (i *Issuer) ready() error {
	return errors.Join(i.stores.ready(), i.fleet.stores.ready(nodeKind))
}

// Requests returns the requests to our signers; reconcile.ErrNotReady until the
// API has said everything once. They must not be changed.
func (i *Issuer) Requests() ([]*certv1.CertificateSigningRequest, error) {
	if err := i.ready(); err != nil {
		return nil, err
	}
	out := all[*certv1.CertificateSigningRequest](i.stores, requestKind(api.SignerAgent))
	return append(out, all[*certv1.CertificateSigningRequest](i.stores, requestKind(api.SignerGateway))...), nil
}

// Rules are what requests are judged by.
func (i *Issuer) Rules() identity.Rules {
	return identity.Rules{Namespace: i.o.Namespace, Node: func(name string) (string, bool) {
		n := i.fleet.stores.get(nodeKind.name, "", name)
		if n == nil {
			return "", false
		}
		return string(n.GetUID()), true
	}}
}

// Request returns the request of that name, for an Event about it; nil if it
// is gone.
func (i *Issuer) Request(name string) *certv1.CertificateSigningRequest {
	for _, signer := range []string{api.SignerAgent, api.SignerGateway} {
		if csr, ok := i.stores.get(requestKind(signer).name, "", name).(*certv1.CertificateSigningRequest); ok {
			return csr
		}
	}
	return nil
}

// trimIssuer keeps of an answered request that it was: after an installation
// there is one of every node for an hour.
func trimIssuer(o any) (any, error) {
	if csr, ok := o.(*certv1.CertificateSigningRequest); ok {
		csr.ManagedFields = nil
		if len(csr.Status.Certificate) > 0 {
			csr.Spec.Request = nil
		}
	}
	return o, nil
}
