// SPDX-License-Identifier: Apache-2.0

package cert_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/hub/cert"
)

const day = 24 * time.Hour

// clock is set by tests.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func start() *clock { return &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)} }

func open(tb testing.TB, dir string, c *clock, names ...string) *cert.Keeper {
	tb.Helper()
	k, err := cert.New(cert.Options{
		Dir: dir, Node: "a-1", Names: names, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
		Now: c.read, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// serving returns the certificate of the next handshake.
func serving(tb testing.TB, k *cert.Keeper) *tls.Certificate {
	tb.Helper()
	c, err := k.GetCertificate(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// trusts reports what a caller that has read that ca.crt says to a certificate.
func trusts(ca []byte, c *tls.Certificate, now time.Time, name string) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, DNSName: name})
	return err
}

func bundle(tb testing.TB, dir string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(dir, cert.FileCA))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hub")
	k := open(t, dir, start(), "hub.local")
	for name, want := range map[string]fs.FileMode{"ca.crt": 0o644, "authority.pem": 0o600, "serving.pem": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %s, want %s", name, info.Mode().Perm(), want)
		}
	}
	if text := bundle(t, dir); bytes.Contains(text, []byte("PRIVATE")) || !bytes.Equal(text, k.Bundle()) {
		t.Errorf("ca.crt:\n%s", text)
	}
	for _, name := range []string{"hub.local", "127.0.0.1", "::1"} {
		if err := trusts(bundle(t, dir), serving(t, k), start().now, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRestart: the same certificate, unless it is for other names.
func TestRestart(t *testing.T) {
	dir, now := t.TempDir(), start()
	first := serving(t, open(t, dir, now))
	if again := serving(t, open(t, dir, now)); !again.Leaf.Equal(first.Leaf) {
		t.Error("a restart makes another certificate")
	}
	ca := bundle(t, dir)
	other := serving(t, open(t, dir, now, "hub.local"))
	if err := trusts(ca, other, now.now, "hub.local"); err != nil {
		t.Errorf("a new name: %v", err)
	}
}

// TestLife walks through thirty years in steps of a day. Whoever reads ca.crt
// again at least every half year trusts every handshake, without a restart of
// the hub; what is renewed has a third of its life left.
func TestLife(t *testing.T) {
	dir, now := t.TempDir(), start()
	k := open(t, dir, now)
	ca, read := bundle(t, dir), now.now
	authorities := map[string]bool{}
	for range 30 * 365 {
		now.now = now.now.Add(day)
		c := serving(t, k)
		if err := trusts(ca, c, now.now, "127.0.0.1"); err != nil {
			t.Fatalf("%s, ca.crt of %s: %v", now.now, read, err)
		}
		if left := c.Leaf.NotAfter.Sub(now.now); left < 30*day {
			t.Fatalf("%s: the certificate has %s left", now.now, left)
		}
		authorities[c.Leaf.Issuer.CommonName] = true
		if now.now.Sub(read) > 170*day {
			ca, read = bundle(t, dir), now.now
		}
	}
	if len(authorities) < 4 {
		t.Errorf("%d authorities in thirty years", len(authorities))
	}
}

// TestClock: a node that starts in 1970 and learns the time later shows a
// certificate that is good before and after.
func TestClock(t *testing.T) {
	dir, now := t.TempDir(), &clock{time.Unix(30, 0)}
	k := open(t, dir, now)
	early := bundle(t, dir)
	if err := trusts(early, serving(t, k), now.now, "127.0.0.1"); err != nil {
		t.Errorf("in 1970: %v", err)
	}
	now.now = time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	if err := trusts(early, serving(t, k), now.now, "127.0.0.1"); err != nil {
		t.Errorf("when the clock is set: %v", err)
	}
	if k = open(t, dir, now); trusts(early, serving(t, k), now.now, "127.0.0.1") != nil {
		t.Error("after a restart the authority is another one")
	}
}

// TestDamage: every cut of a file, as a bad disk may leave it, gives a hub that
// serves, and files that are whole.
func TestDamage(t *testing.T) {
	now := start()
	for _, name := range []string{"authority.pem", "serving.pem", "ca.crt"} {
		dir := t.TempDir()
		open(t, dir, now)
		whole, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for cut := 0; cut < len(whole); cut += 29 {
			if err := os.WriteFile(filepath.Join(dir, name), whole[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			k := open(t, dir, now)
			if err := trusts(bundle(t, dir), serving(t, k), now.now, "127.0.0.1"); err != nil {
				t.Fatalf("%s cut at %d: %v", name, cut, err)
			}
		}
	}
}
