// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/tunnel/identity"
)

// CertificateOptions say whose certificate is kept.
type CertificateOptions struct {
	// Kind is identity.Agent or identity.Gateway.
	Kind identity.Kind
	// Name of the node, or of the gateway's pod.
	Name string
	// Dir is where key, certificate and bundle are kept; they are found there
	// after a restart, with or without an API server.
	Dir string
	// UID returns the UID of the agent's Node as the API has it now, "" if it
	// is not known: a certificate of a Node that was deleted and made again is
	// renewed at once. Nil for a gateway.
	UID func() string
	// Now is the clock.
	Now func() time.Time
	Log *slog.Logger
}

// Certificates keeps one certificate of the tunnel current, and the bundle of
// authorities that it trusts.
type Certificates struct {
	client kubernetes.Interface
	o      CertificateOptions
	bell   bell
	// own and trust are what is in use; nil until there is one.
	own   atomic.Pointer[tls.Certificate]
	trust atomic.Pointer[x509.CertPool]
}

// ErrNoCertificate says that none has been issued to us yet.
var ErrNoCertificate = errors.New("no certificate of the tunnel yet")

// NewCertificates reads what Dir holds; it does not connect.
func NewCertificates(cfg *rest.Config, o CertificateOptions) (*Certificates, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Certificates{client: client, o: o}, nil
}

// Run keeps certificate and bundle current until ctx ends and returns
// ctx.Err(). An API server that is away costs nothing until the certificate's
// end.
func (c *Certificates) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// GetCertificate is for tls.Config.GetCertificate.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if own := c.own.Load(); own != nil {
		return own, nil
	}
	return nil, ErrNoCertificate
}

// GetClientCertificate is for tls.Config.GetClientCertificate.
func (c *Certificates) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.GetCertificate(nil)
}

// Roots are the authorities to trust now; nil while none is known. Ask for each
// handshake: they change when the authority is rotated.
func (c *Certificates) Roots() *x509.CertPool { return c.trust.Load() }

// Who is whom our certificate names; false while there is none.
func (c *Certificates) Who() (identity.Who, bool) {
	own := c.own.Load()
	if own == nil {
		return identity.Who{}, false
	}
	who, err := identity.FromCertificate(own.Leaf)
	return who, err == nil
}

// Changed returns a new channel that receives after each change of certificate
// or roots.
func (c *Certificates) Changed() <-chan struct{} { return c.bell.listen() }
