// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
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
	// Now is the clock of this machine, which may be wrong.
	Now func() time.Time
	Log *slog.Logger
}

// Certificates keeps one certificate of the tunnel current, and the bundle of
// authorities that it trusts.
type Certificates struct {
	requests direct
	stores   *stores
	o        CertificateOptions
	clock    *clock
	bell     bell
	// own and trust are what is in use; nil until there is one.
	own     atomic.Pointer[held]
	trust   atomic.Pointer[trusted]
	trouble atomic.Pointer[error]
}

// held is a certificate as we got it.
type held struct {
	*tls.Certificate
	// since is when, as Now said: an age does not depend on whether that was
	// right.
	since time.Time
}

// trusted is a bundle as it was read.
type trusted struct {
	text string
	pool *x509.CertPool
}

// ErrNoCertificate says that none has been issued to us yet.
var ErrNoCertificate = errors.New("no certificate of the tunnel yet")

// NewCertificates reads what Dir holds; it does not connect. What cannot be
// read there is no error: a certificate can be had again.
func NewCertificates(cfg *rest.Config, o CertificateOptions) (*Certificates, error) {
	clock := &clock{local: o.Now, log: o.Log}
	cfg = clock.on(cfg)
	requests, err := newDirect(cfg, requestKind(""))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of certificates: %w", err)
	}
	c := &Certificates{requests: requests, stores: newStores(), o: o, clock: clock}
	bundle := fields.OneTermEqualSelector("metadata.name", api.TunnelCAName)
	if err := c.stores.watch(cfg, configMapKind, api.TunnelCANamespace, bundle, nil); err != nil {
		return nil, err
	}
	c.load()
	return c, nil
}

// Run keeps certificate and bundle current until ctx ends and returns
// ctx.Err(). An API server that is away costs nothing until the certificate's
// end.
func (c *Certificates) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { c.stores.run(ctx) })
	wg.Go(func() { c.follow(ctx) })
	wg.Go(func() { c.keep(ctx) })
	wg.Wait()
	return ctx.Err()
}

// GetCertificate is for tls.Config.GetCertificate. A certificate whose time is
// over is still returned: the clock that says so may be wrong, and the other
// end decides.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if own := c.own.Load(); own != nil {
		return own.Certificate, nil
	}
	return nil, ErrNoCertificate
}

// GetClientCertificate is for tls.Config.GetClientCertificate.
func (c *Certificates) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.GetCertificate(nil)
}

// Roots are the authorities to trust now; nil while none is known. Ask for each
// handshake: they change when the authority is rotated.
func (c *Certificates) Roots() *x509.CertPool {
	if t := c.trust.Load(); t != nil {
		return t.pool
	}
	return nil
}

// Who is whom our certificate names; false while there is none.
func (c *Certificates) Who() (identity.Who, bool) {
	own := c.own.Load()
	if own == nil {
		return identity.Who{}, false
	}
	who, err := identity.FromCertificate(own.Leaf)
	return who, err == nil
}

// Trouble is why the last attempt to get a certificate failed; nil after one
// that did not. It wraps identity.ErrNotIssued where we were refused.
func (c *Certificates) Trouble() error {
	if p := c.trouble.Load(); p != nil {
		return *p
	}
	return nil
}

// Changed returns a new channel that receives after each change of certificate
// or roots.
func (c *Certificates) Changed() <-chan struct{} { return c.bell.listen() }

// Now is the time by which certificates are judged: this machine's, unless the
// API server has told that it is wrong.
func (c *Certificates) Now() time.Time { return c.clock.now() }

// ClockOff is how far this machine's clock is ahead of the API server's,
// negative if it is behind; 0 up to a minute.
func (c *Certificates) ClockOff() time.Duration { return c.clock.off() }
