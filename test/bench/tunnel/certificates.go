// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// serverName is what agents expect in the gateway's certificate.
const serverName = "magpie-gateway"

// authority signs the certificates of one measurement. It travels to the roles
// as JSON.
type authority struct {
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("make key: %w", err)
	}
	t := template("authority")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("sign authority: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return authority{}, fmt.Errorf("encode key: %w", err)
	}
	return authority{Certificate: der, Key: secret}, nil
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // the source never fails
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// pool is the authority as a root.
func (a authority) pool() (*x509.CertPool, *x509.Certificate, error) {
	c, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("parse authority: %w", err)
	}
	p := x509.NewCertPool()
	p.AddCert(c)
	return p, c, nil
}

// issue makes a certificate of that name.
func (a authority) issue(name string) (*tls.Certificate, error) {
	_, root, err := a.pool()
	if err != nil {
		return nil, err
	}
	signer, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template(name), root, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// verifier is how a gateway judges a chain.
func (a authority) verifier() (func(string, []*x509.Certificate) (stream.Far, error), error) {
	roots, _, err := a.pool()
	if err != nil {
		return nil, err
	}
	return func(_ string, chain []*x509.Certificate) (stream.Far, error) {
		if len(chain) == 0 {
			return stream.Far{}, errors.New("no certificate")
		}
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return stream.Far{Name: chain[0].Subject.CommonName, Expires: chain[0].NotAfter}, err
	}, nil
}
