// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"math/big"
	"time"

	certv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

const (
	keepLook   = 10 * time.Second // how often to look whether a certificate is due
	keepRetry  = time.Second      // first pause after a failure; doubled up to keepSlow
	keepSlow   = 5 * time.Minute
	keepDenied = time.Minute            // first pause after a refusal
	keepCalm   = time.Minute            // between two certificates, whatever the reason
	keepStale  = time.Hour              // between two for which our clock is too fast
	pollFirst  = 100 * time.Millisecond // first pause while waiting for an answer
	pollSlow   = 5 * time.Second
	pollEnd    = 2 * time.Minute
)

// follow takes over each new bundle of authorities.
func (c *Certificates) follow(ctx context.Context) {
	ear := c.stores.listen()
	for ctx.Err() == nil {
		c.takeBundle()
		select {
		case <-ctx.Done():
		case <-ear:
		}
	}
}

// takeBundle keeps what it has where the API has nothing, or nothing that can
// be read.
func (c *Certificates) takeBundle() {
	m, ok := c.stores.get(configMapKind.name, api.TunnelCANamespace, api.TunnelCAName).(*corev1.ConfigMap)
	if !ok || m.Data[api.TunnelCABundle] == "" {
		return
	}
	text := m.Data[api.TunnelCABundle]
	if now := c.trust.Load(); now != nil && now.text == text {
		return
	}
	pool, err := identity.Pool([]byte(text))
	if err != nil {
		c.o.Log.Warn("the bundle of authorities is damaged, the last one is used", "err", err)
		return
	}
	c.trust.Store(&trusted{text, pool})
	c.save(fileBundle, []byte(text))
	c.o.Log.Info("authorities of the tunnel changed")
	c.bell.ring()
}

// keep gets a certificate whenever one is due.
func (c *Certificates) keep(ctx context.Context) {
	ear := c.bell.listen()
	pause, chance := keepRetry, random()
	for ctx.Err() == nil {
		why := c.due(chance)
		if why == "" {
			sleep(ctx, keepLook, ear)
			continue
		}
		c.o.Log.Info("asking for a certificate of the tunnel", "reason", why)
		err := c.renew(ctx)
		if ctx.Err() != nil {
			return
		}
		c.trouble.Store(&err)
		if err == nil {
			pause, chance = keepRetry, random()
			continue
		}
		if errors.Is(err, identity.ErrNotIssued) {
			pause = max(pause, keepDenied)
		}
		// Up to a half more, so that agents which lost the API server in one
		// moment do not come back in one.
		wait := pause + time.Duration(random()*float64(pause)/2)
		c.o.Log.Warn("no new certificate of the tunnel", "err", err, "again", wait)
		pause = min(2*pause, keepSlow)
		sleep(ctx, wait, nil)
	}
}

// due says why a certificate is to be had now; "" if it is not. Whatever the
// reason, a certificate that is new is kept for a while: if the next one would
// be no better, we must not go on asking.
func (c *Certificates) due(chance float64) string {
	own := c.own.Load()
	if own == nil {
		return "there is none"
	}
	now := c.Now()
	if own.since.After(now.Add(keepCalm)) { // the clock was set back
		own = &held{own.Certificate, now}
		if signed := identity.Signed(own.Leaf); signed.Before(now) {
			own.since = signed
		}
		c.own.Store(own)
	}
	age := now.Sub(own.since)
	if age < keepCalm {
		return ""
	}
	if age >= identity.RenewAfter(own.Leaf, chance) {
		return "two thirds of its life are over"
	}
	if age > keepStale && now.After(own.Leaf.NotAfter) {
		return "its time is over by our clock"
	}
	who, err := identity.FromCertificate(own.Leaf)
	if err != nil || who.Name != c.o.Name || who.Kind != c.o.Kind {
		return "it names somebody else"
	}
	if c.o.UID != nil {
		if uid := c.o.UID(); uid != "" && uid != who.UID {
			return "the Node was made again"
		}
	}
	if roots := c.Roots(); roots != nil {
		// As of its beginning: whether it has expired is not the question here.
		_, err := identity.Verify(parse(own.Certificate), roots, own.Leaf.NotBefore.Add(time.Second), c.o.Kind)
		if err != nil {
			return "its authority is no longer trusted"
		}
	}
	return ""
}

// renew asks for one certificate and takes it into use. The key is on disk
// before the request is made: whoever restarts meanwhile finds the answer.
func (c *Certificates) renew(ctx context.Context) error {
	key, err := c.nextKey()
	if err != nil {
		return err
	}
	text, err := c.ask(ctx, key)
	if errors.Is(err, identity.ErrNotIssued) {
		c.dropKey() // a refusal is final for this key
	}
	if err != nil {
		return err
	}
	own, err := pair(text, key)
	if err != nil {
		c.dropKey()
		return err
	}
	who, err := identity.FromCertificate(own.Leaf)
	if err == nil && (who.Name != c.o.Name || who.Kind != c.o.Kind) {
		err = fmt.Errorf("it is the %s %s's", who.Kind, who.Name)
	}
	if err != nil {
		c.dropKey()
		return fmt.Errorf("read new certificate: %w", err)
	}
	c.own.Store(&held{own, c.Now()})
	if encoded, err := identity.EncodeKey(key); err == nil && c.save(fileOwn, append(bytes.Clone(text), encoded...)) {
		c.dropKey()
	}
	c.o.Log.Info("new certificate of the tunnel", "node", c.o.Name, "expires", who.Expires)
	c.bell.ring()
	return nil
}

// ask makes the request for a key, or finds it again, and waits for its answer.
func (c *Certificates) ask(ctx context.Context, key *ecdsa.PrivateKey) ([]byte, error) {
	csr, err := c.request(key)
	if err != nil {
		return nil, err
	}
	name := csr.Name
	err = c.requests.create(ctx, csr)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("make request %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, pollEnd)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollSlow) {
		csr := &certv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}}
		err := c.requests.get(ctx, csr)
		if err != nil {
			return nil, fmt.Errorf("read request %s: %w", name, err)
		}
		if text, err := identity.Issued(csr); err != nil || len(text) > 0 {
			return text, err
		}
		sleep(ctx, pause, nil)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("request %s has no answer after %s: is magpie-manager running?", name, pollEnd)
		}
	}
}

func (c *Certificates) request(key *ecdsa.PrivateKey) (*certv1.CertificateSigningRequest, error) {
	text, err := identity.NewRequest(rand.Reader, key, c.o.Kind, c.o.Name)
	if err != nil {
		return nil, err
	}
	name, err := identity.RequestName(c.o.Kind, c.o.Name, key.Public())
	if err != nil {
		return nil, err
	}
	out := &certv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}}
	out.Spec = identity.RequestSpec(c.o.Kind, text)
	return out, nil
}

// pair makes what TLS uses of a chain and its key.
func pair(chain []byte, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	all, err := identity.ParseCertificates(chain)
	if err != nil {
		return nil, fmt.Errorf("read new certificate: %w", err)
	}
	if !key.PublicKey.Equal(all[0].PublicKey) {
		return nil, errors.New("the new certificate is of another key")
	}
	out := &tls.Certificate{PrivateKey: key, Leaf: all[0]}
	for _, c := range all {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out, nil
}

// sleep lasts until d is over, ear rings or ctx ends.
func sleep(ctx context.Context, d time.Duration, ear <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-ear:
	}
}

// random returns a number from 0 to 1.
func random() float64 {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<20))
	if err != nil {
		return 0.5
	}
	return float64(n.Int64()) / (1 << 20)
}
