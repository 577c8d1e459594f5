// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/hub/file"
)

// Files in Options.Dir.
const (
	fileAuthority = "authority.pem"
	fileServing   = "serving.pem"
	// FileCA is the file that callers of the hub trust.
	FileCA = "ca.crt"
)

// checkEvery is how often the files are looked after.
const checkEvery = time.Minute

// Options of a Keeper.
type Options struct {
	// Dir holds the files; it is made if it is not there, readable for all.
	Dir string
	// Node is named in the certificates, for whoever reads them.
	Node string
	// Addrs and Names are what the certificate is for.
	Addrs []netip.Addr
	Names []string
	// Now is the clock.
	Now func() time.Time
	Log *slog.Logger
}

// Keeper keeps the certificate of a node's hub.
type Keeper struct {
	o Options

	mu          sync.Mutex
	authorities []pair
	serving     pair
}

// New takes over what Dir holds, or makes it. What can not be read there is
// made anew, with a warning; an error is returned only where no certificate can
// be made.
func New(o Options) (*Keeper, error) {
	k := &Keeper{o: o}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory of certificates: %w", err)
	}
	k.authorities = k.load(fileAuthority)
	if own := k.load(fileServing); len(own) == 1 {
		k.serving = own[0]
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k, k.advance(k.now())
}

// Run looks after the certificates until ctx ends, and returns ctx.Err().
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.check()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (k *Keeper) check() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.advance(k.now()); err != nil {
		k.o.Log.Error("certificate of the hub is not renewed", "err", err)
	}
}

// GetCertificate is for tls.Config.GetCertificate.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); !k.fits(now) { // the clock has been set since the last check
		if err := k.advance(now); err != nil {
			return nil, err
		}
	}
	return k.serving.tls(), nil
}

// Bundle returns what callers trust, which is what is in FileCA.
func (k *Keeper) Bundle() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bundle()
}

func (k *Keeper) bundle() []byte {
	var out []byte
	for _, a := range k.authorities {
		out = append(out, encodeCertificate(a.cert)...)
	}
	return out
}

// now never returns a time before this was written: a clock that says so does
// not know, and what is signed then must still hold when it does.
func (k *Keeper) now() time.Time {
	now, floor := k.o.Now(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if now.Before(floor) {
		return floor
	}
	return now
}

// advance makes what should be there now, in memory and then on disk. A disk
// that is full is no reason to go without a certificate.
func (k *Keeper) advance(now time.Time) error {
	all, signs, err := advance(k.authorities, k.o.Node, now)
	if err != nil {
		return err
	}
	k.authorities = all
	if k.serving.cert == nil || !k.fits(now) || k.serving.cert.CheckSignatureFrom(signs.cert) != nil {
		if k.serving, err = newServing(signs, k.o, now); err != nil {
			return err
		}
		k.o.Log.Info("certificate of the hub is new", "until", k.serving.cert.NotAfter)
	}
	return k.save()
}

// fits reports whether the certificate has a third of its life left and is for
// the names and addresses that it should be for.
func (k *Keeper) fits(now time.Time) bool {
	c := k.serving.cert
	if c == nil || c.NotAfter.Sub(now) < servingLife/3 || !slices.Equal(c.DNSNames, k.o.Names) {
		return false
	}
	return slices.EqualFunc(c.IPAddresses, k.o.Addrs, func(ip net.IP, a netip.Addr) bool {
		return ip.Equal(net.IP(a.Unmap().AsSlice()))
	})
}

// save writes what differs from the files. The key of an authority is written
// before anybody is told to trust it.
func (k *Keeper) save() error {
	authority, err := encode(k.authorities)
	if err != nil {
		return err
	}
	serving, err := encode([]pair{k.serving})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{{fileAuthority, authority, 0o600}, {FileCA, k.bundle(), 0o644}, {fileServing, serving, 0o600}} {
		path := filepath.Join(k.o.Dir, f.name)
		if is, err := os.ReadFile(path); err == nil && bytes.Equal(is, f.text) {
			continue
		}
		if err := file.Replace(path, f.text, f.mode); err != nil {
			k.o.Log.Warn("a file of the hub is not written", "path", path, "err", err)
		}
	}
	return nil
}

// load reads pairs from a file; nothing if there are none to be read.
func (k *Keeper) load(name string) []pair {
	path := filepath.Join(k.o.Dir, name)
	text, err := os.ReadFile(path)
	var out []pair
	if err == nil {
		out, err = decode(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.o.Log.Warn("a file of the hub can not be read, it is made anew", "path", path, "err", err)
	}
	return out
}
