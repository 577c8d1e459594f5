// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const life = 365 * 24 * time.Hour

// CA signs certificates into a folder.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// Request says what a certificate is for.
type Request struct {
	File   string // base name of the .crt and .key
	Name   string // common name: the Kubernetes user
	Groups []string
	DNS    []string
	IPs    []string
	Server bool
}

// NewCA loads the authority name from dir or makes it.
func NewCA(dir, name string, now time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pki folder: %w", err)
	}
	ca := &CA{dir: dir}
	if ca.load(name) == nil {
		return ca, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of %s: %w", name, err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "magpie-lab " + name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read back %s: %w", name, err)
	}
	ca.key = key
	return ca, ca.write(name, der, key)
}

func (c *CA) load(name string) error {
	certPEM, err := os.ReadFile(filepath.Join(c.dir, name+".crt"))
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(c.dir, name+".key"))
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	cb, _ := pem.Decode(certPEM)
	kb, _ := pem.Decode(keyPEM)
	if cb == nil || kb == nil {
		return fmt.Errorf("load %s: not PEM", name)
	}
	if c.cert, err = x509.ParseCertificate(cb.Bytes); err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(kb.Bytes)
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("load %s: not a signing key", name)
	}
	c.key = signer
	return nil
}

// Issue writes a certificate and key unless they are there.
func (c *CA) Issue(r Request, now time.Time) error {
	if exists(filepath.Join(c.dir, r.File+".crt")) && exists(filepath.Join(c.dir, r.File+".key")) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key of %s: %w", r.File, err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: r.Name, Organization: r.Groups},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), DNSNames: r.DNS,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if r.Server {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, ip := range r.IPs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key.Public(), c.key)
	if err != nil {
		return fmt.Errorf("sign %s: %w", r.File, err)
	}
	return c.write(r.File, der, key)
}

// SigningKey writes an RSA key pair (.key, .pub) for service account tokens
// unless it is there.
func SigningKey(dir, name string) error {
	if exists(filepath.Join(dir, name+".key")) && exists(filepath.Join(dir, name+".pub")) {
		return nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make key %s: %w", name, err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode key %s: %w", name, err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", priv, 0o600); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+".pub"), "PUBLIC KEY", pub, 0o644)
}

func (c *CA) write(name string, der []byte, key crypto.Signer) error {
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(c.dir, name+".key"), "PRIVATE KEY", priv, 0o600); err != nil {
		return err
	}
	return writePEM(filepath.Join(c.dir, name+".crt"), "CERTIFICATE", der, 0o644)
}

func writePEM(file, kind string, der []byte, mode os.FileMode) error {
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func exists(file string) bool {
	fi, err := os.Stat(file)
	return err == nil && fi.Size() > 0
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return big.NewInt(time.Now().UnixNano())
	}
	return n
}
