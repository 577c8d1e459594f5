// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	// authorityLife is how long an authority lasts; the next one is made after
	// two thirds of it.
	authorityLife = 10 * 365 * 24 * time.Hour
	// announce is how long an authority is in ca.crt before it signs: time for
	// whoever reads the file once to be restarted.
	announce = 180 * 24 * time.Hour
	// servingLife is how long a certificate lasts; it is renewed after two thirds.
	servingLife = 90 * 24 * time.Hour
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// made is when the certificate was made; NotBefore does not say.
func (p pair) made(life time.Duration) time.Time { return p.cert.NotAfter.Add(-life) }

// advance returns the authorities as they should be now, oldest first, and the
// one that signs: the newest that has been announced for long enough.
func advance(have []pair, node string, now time.Time) (all []pair, signs pair, err error) {
	for _, a := range have {
		if now.Before(a.cert.NotAfter) {
			all = append(all, a)
		}
	}
	if n := len(all); n == 0 || now.Sub(all[n-1].made(authorityLife)) > authorityLife/3*2 {
		next, err := newAuthority(node, now)
		if err != nil {
			return nil, pair{}, err
		}
		all = append(all, next)
	}
	signs = all[0]
	for _, a := range all[1:] {
		if now.Sub(a.made(authorityLife)) >= announce {
			signs = a
		}
	}
	return all, signs, nil
}

func newAuthority(node string, now time.Time) (pair, error) {
	template, err := newTemplate(now.Add(authorityLife))
	if err != nil {
		return pair{}, err
	}
	template.Subject = pkix.Name{CommonName: fmt.Sprintf("magpie-hub-ca %s %x", node, template.SerialNumber.Bytes()[:4])}
	template.IsCA, template.MaxPathLenZero = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	return sign(template, pair{})
}

// newServing makes a certificate for those names and addresses.
func newServing(by pair, o Options, now time.Time) (pair, error) {
	template, err := newTemplate(now.Add(servingLife))
	if err != nil {
		return pair{}, err
	}
	template.Subject = pkix.Name{CommonName: "magpie-hub " + o.Node}
	template.DNSNames = o.Names
	for _, a := range o.Addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.Unmap().AsSlice()))
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return sign(template, by)
}

func newTemplate(until time.Time) (*x509.Certificate, error) {
	var serial [16]byte
	if _, err := rand.Read(serial[:]); err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive, and always of 16 bytes
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]), BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: until,
	}, nil
}

// sign makes a key and a certificate for it; without by it signs itself.
func sign(template *x509.Certificate, by pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make key: %w", err)
	}
	if by.cert == nil {
		by = pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, fmt.Errorf("read back certificate: %w", err)
	}
	return pair{cert, key}, nil
}

// tls returns the pair as crypto/tls wants it.
func (p pair) tls() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
}

func encodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw})
}

// encode returns certificate and key as PEM: one text, because two files can
// not be replaced in one moment, and one without the other is nothing.
func encode(pairs []pair) ([]byte, error) {
	var out bytes.Buffer
	for _, p := range pairs {
		der, err := x509.MarshalPKCS8PrivateKey(p.key)
		if err != nil {
			return nil, fmt.Errorf("encode key: %w", err)
		}
		out.Write(encodeCertificate(p.cert))
		out.Write(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
	}
	return out.Bytes(), nil
}

// decode reads what encode has written.
func decode(text []byte) ([]pair, error) {
	var out []pair
	for {
		first, rest := pem.Decode(text)
		if first == nil {
			break
		}
		second, after := pem.Decode(rest)
		if second == nil || first.Type != pemCertificate || second.Type != pemKey {
			return nil, errors.New("not a certificate and its key")
		}
		cert, err := x509.ParseCertificate(first.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		any, err := x509.ParsePKCS8PrivateKey(second.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		key, ok := any.(*ecdsa.PrivateKey)
		if !ok || !key.PublicKey.Equal(cert.PublicKey) {
			return nil, errors.New("the key is not that of the certificate")
		}
		out, text = append(out, pair{cert, key}), after
	}
	if len(out) == 0 || len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("not a list of certificates and keys")
	}
	return out, nil
}
