// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"time"
)

// AuthorityLife is how long an authority lasts; the next one is made after two
// thirds of it.
const AuthorityLife = 5 * 365 * 24 * time.Hour

// Authority signs the certificates of the tunnel.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes one with a key of its own.
func NewAuthority(random io.Reader, now time.Time) (Authority, error) {
	key, err := NewKey(random)
	if err != nil {
		return Authority{}, err
	}
	serial, err := newSerial(random)
	if err != nil {
		return Authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: fmt.Sprintf("magpie-tunnel-ca %x", serial.Bytes()[:4])},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(AuthorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(random, template, template, key.Public(), key)
	if err != nil {
		return Authority{}, fmt.Errorf("make authority: %w", err)
	}
	return readAuthority(der, key)
}

func readAuthority(der []byte, key *ecdsa.PrivateKey) (Authority, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Authority{}, fmt.Errorf("read authority: %w", err)
	}
	public, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || !c.IsCA || !public.Equal(key.Public()) {
		return Authority{}, errors.New("read authority: the certificate is not its key's")
	}
	return Authority{Certificate: c, key: key}, nil
}

// Sign makes the certificate of a Grant, as PEM.
func (a Authority) Sign(random io.Reader, now time.Time, g Grant) ([]byte, error) {
	org, err := organization(g.Kind)
	if err != nil {
		return nil, err
	}
	if g.Public == nil || g.Public.Curve != elliptic.P256() {
		return nil, errors.New("sign: the key is not ECDSA P-256")
	}
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	longest := Lifetime
	if g.Kind == Caller {
		longest = CallerLifetime
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: g.Name, Organization: []string{org}},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              earlier(now.Add(min(g.Lifetime, longest)), a.Certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		DNSNames:              g.DNS,
	}
	switch g.Kind {
	case Agent:
		template.URIs = []*url.URL{nodeURI(g.Name, g.UID)}
	case Gateway:
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	case Caller:
	}
	der, err := x509.CreateCertificate(random, template, a.Certificate, g.Public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", g.Name, err)
	}
	if c, err := x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read back certificate of %s: %w", g.Name, err)
	} else if _, err := FromCertificate(c); err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", g.Name, err)
	}
	return encodeCertificate(der), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// newSerial returns 127 random bits.
func newSerial(random io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always of 16 bytes
	return new(big.Int).SetBytes(b[:]), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
}
