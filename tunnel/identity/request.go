// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	certv1 "k8s.io/api/certificates/v1"

	"github.com/magpie-edge/magpie/api"
)

// Lifetime of a certificate, and how long before it is signed it begins: the
// clocks of shops are wrong, mostly slow, and a day costs nobody anything.
const (
	Lifetime = 24 * time.Hour
	Backdate = 24 * time.Hour
	// CallerLifetime is the longest of a caller's: an API server reads its
	// certificate from a file that a person has put there.
	CallerLifetime = 365 * 24 * time.Hour
)

// Types of PEM blocks.
const (
	pemRequest     = "CERTIFICATE REQUEST"
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// NewKey makes the key of one certificate: ECDSA P-256.
func NewKey(random io.Reader) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// EncodeKey returns a key as PEM, PKCS 8.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

// DecodeKey reads what EncodeKey returns; what follows the key is not looked at.
func DecodeKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemKey {
		return nil, errors.New("decode key: no block " + pemKey)
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("decode key: it is a %T", any)
	}
	return key, nil
}

// NewRequest returns the PEM of a request for the certificate of an agent or a
// gateway of that name. It says no more than a name: all else is the signer's.
func NewRequest(random io.Reader, key crypto.Signer, kind Kind, name string) ([]byte, error) {
	org, err := organization(kind)
	if err != nil {
		return nil, err
	}
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("make request: name %w", err)
	}
	der, err := x509.CreateCertificateRequest(random, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name, Organization: []string{org}},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der}), nil
}

func organization(kind Kind) (string, error) {
	switch kind {
	case Agent:
		return OrgAgents, nil
	case Gateway:
		return OrgGateways, nil
	case Caller:
		return OrgCallers, nil
	}
	return "", fmt.Errorf("kind %q is not known", kind)
}

// RequestName is the name of the CertificateSigningRequest for a key: whoever
// restarts while it waits finds its own request again, and nobody can occupy
// the name of another node's, because admission compares it with the node.
func RequestName(kind Kind, name string, public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return "magpie-tunnel-" + string(kind) + "." + name + "." + hex.EncodeToString(sum[:8]), nil
}

// ParseCertificates reads a chain or a bundle of PEM certificates. Anything
// else in the text is an error: a bundle that is cut off in the middle must not
// pass for a shorter one.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != pemCertificate {
			return nil, fmt.Errorf("read certificates: a block is %s", quote(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		out, text = append(out, c), rest
	}
	if len(out) == 0 {
		return nil, errors.New("read certificates: there is none")
	}
	if len(bytesTrim(text)) != 0 {
		return nil, errors.New("read certificates: something else follows the last one")
	}
	return out, nil
}

func bytesTrim(b []byte) string {
	for len(b) > 0 && (b[0] == '\n' || b[0] == '\r' || b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return string(b)
}

// Pool is a pool of trusted authorities from a bundle.
func Pool(bundle []byte) (*x509.CertPool, error) {
	certificates, err := ParseCertificates(bundle)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certificates {
		if !c.IsCA {
			return nil, fmt.Errorf("read bundle: %s is no authority's certificate", quote(c.Subject.CommonName))
		}
		pool.AddCert(c)
	}
	return pool, nil
}

// RenewAfter is how long after it was signed a certificate is to be renewed:
// two thirds of its life, up to a tenth of its life earlier or later, which
// chance, 0 to 1, decides. So 5,000 agents that were installed in one minute do
// not renew in one.
func RenewAfter(c *x509.Certificate, chance float64) time.Duration {
	life := c.NotAfter.Sub(c.NotBefore)
	if life > Backdate { // else its authority ended soon after
		life -= Backdate
	}
	return life/3*2 + time.Duration((chance-0.5)/5*float64(life))
}

// Signed is when a certificate was signed.
func Signed(c *x509.Certificate) time.Time { return c.NotBefore.Add(Backdate) }

// RequestSpec is what a CertificateSigningRequest for a request's PEM says.
func RequestSpec(kind Kind, request []byte) certv1.CertificateSigningRequestSpec {
	signer, life := api.SignerAgent, int32(Lifetime/time.Second)
	if kind == Gateway {
		signer = api.SignerGateway
	}
	return certv1.CertificateSigningRequestSpec{
		Request: request, SignerName: signer, ExpirationSeconds: &life, Usages: usages(kind),
	}
}
