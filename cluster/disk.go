// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/magpie-edge/magpie/tunnel/identity"
)

// Files in CertificateOptions.Dir. Certificate and key are one file, because
// two cannot be replaced in one moment, and one without the other is nothing.
const (
	fileOwn     = "tunnel.pem"      // certificate and key in use
	fileNextKey = "tunnel-next.key" // key of the request that is under way
	fileBundle  = "tunnel-ca.crt"   // authorities
)

// load takes over what an earlier process has left.
func (c *Certificates) load() {
	text, err := os.ReadFile(c.path(fileOwn))
	if err == nil {
		err = c.loadOwn(text)
	}
	c.note(fileOwn, err)
	text, err = os.ReadFile(c.path(fileBundle))
	if err == nil {
		var pool *x509.CertPool
		if pool, err = identity.Pool(text); err == nil {
			c.trust.Store(&trusted{string(text), pool})
		}
	}
	c.note(fileBundle, err)
}

// note says that a file is there and cannot be used.
func (c *Certificates) note(file string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.o.Log.Warn("a file of the tunnel is not used", "path", c.path(file), "err", err)
	}
}

func (c *Certificates) loadOwn(text []byte) error {
	at := bytes.LastIndex(text, []byte("-----BEGIN PRIVATE KEY"))
	if at < 0 {
		return errors.New("there is no key in it")
	}
	key, err := identity.DecodeKey(text[at:])
	if err != nil {
		return err
	}
	own, err := pair(text[:at], key)
	if err != nil {
		return err
	}
	// A copy of the file is younger than what is in it; a clock that is behind
	// makes it older, and then its age is what counts.
	since := identity.Signed(own.Leaf)
	if i, err := os.Stat(c.path(fileOwn)); err == nil && i.ModTime().Before(since) {
		since = i.ModTime()
	}
	c.own.Store(&held{own, since})
	return nil
}

// nextKey returns the key of the request under way, or makes one.
func (c *Certificates) nextKey() (*ecdsa.PrivateKey, error) {
	if text, err := os.ReadFile(c.path(fileNextKey)); err == nil {
		if key, err := identity.DecodeKey(text); err == nil {
			return key, nil
		}
	}
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := identity.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	c.save(fileNextKey, text)
	return key, nil
}

// save writes a file and tells whether it could. A full disk is no reason to
// go without a certificate; it costs the next start its memory.
func (c *Certificates) save(file string, text []byte) bool {
	err := writeFile(c.path(file), text)
	if err != nil {
		c.o.Log.Warn("a file of the tunnel is not written", "path", c.path(file), "err", err)
	}
	return err == nil
}

// dropKey removes the key of the request under way: it is answered.
func (c *Certificates) dropKey() {
	if err := os.Remove(c.path(fileNextKey)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.o.Log.Warn("a file of the tunnel is not removed", "path", c.path(fileNextKey), "err", err)
	}
}

func (c *Certificates) path(file string) string { return filepath.Join(c.o.Dir, file) }

// writeFile replaces a file in one moment, for this account's eyes only.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing left to remove
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// parse returns the chain of a certificate in use.
func parse(own *tls.Certificate) []*x509.Certificate {
	out := []*x509.Certificate{own.Leaf}
	for _, der := range own.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			out = append(out, c)
		}
	}
	return out
}
