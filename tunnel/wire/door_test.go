// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// authority signs certificates for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key))
	return authority{must(x509.ParseCertificate(der)), key}
}

func (a authority) issue(tb testing.TB, name string) tls.Certificate {
	tb.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"gateway"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// watch is a clock that stands still unless a test moves it, so that what is
// owed to time does not depend on how busy the machine is.
type watch struct{ ns atomic.Int64 }

func (w *watch) now() time.Time       { return time.Unix(0, w.ns.Load()) }
func (w *watch) move(d time.Duration) { w.ns.Add(int64(d)) }

// doorstep is a Door under test, which greets with the name it was shown.
type doorstep struct {
	*wire.Door
	addr  string
	ca    authority
	clock watch

	mu   sync.Mutex
	seen map[wire.Result]int
}

func open(t *testing.T, limits wire.Handshakes) *doorstep {
	t.Helper()
	s := &doorstep{ca: newAuthority(t), seen: map[wire.Result]int{}}
	own := s.ca.issue(t, "gateway-0")
	greet := func(_ context.Context, c net.Conn, far stream.Far) { _, _ = io.WriteString(c, far.Name) }
	s.Door = &wire.Door{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own, nil },
		Verify: func(proto string, chain []*x509.Certificate) (stream.Far, error) {
			if len(chain) == 0 {
				return stream.Far{}, errors.New("no certificate")
			}
			_, err := chain[0].Verify(x509.VerifyOptions{Roots: s.ca.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			return stream.Far{Name: proto + " " + chain[0].Subject.CommonName}, err
		},
		Handle: map[string]func(context.Context, net.Conn, stream.Far){stream.ProtoAgent: greet, stream.ProtoPeer: greet},
		Limits: limits,
		Seen: func(_ netip.Addr, r wire.Result, _ error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.seen[r]++
		},
		Now: s.clock.now,
	}
	l := must((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))
	s.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// expect waits until the door has seen at least n of r.
func (s *doorstep) expect(t *testing.T, r wire.Result, n int) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		got := s.seen[r]
		s.mu.Unlock()
		if got >= n {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Fatalf("results %v, want %d of %s", s.seen, n, r)
}

// knock dials as an agent with these certificates and returns the greeting.
func (s *doorstep) knock(t *testing.T, change func(*tls.Config)) (string, error) {
	t.Helper()
	c := &tls.Config{RootCAs: s.ca.pool(), ServerName: "gateway", NextProtos: []string{stream.ProtoAgent}, MinVersion: tls.VersionTLS12}
	change(c)
	conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(conn)
	return string(b), err
}

func with(c tls.Certificate) func(*tls.Config) {
	return func(t *tls.Config) { t.Certificates = []tls.Certificate{c} }
}

func TestDoorLetsIn(t *testing.T) {
	s := open(t, wire.Handshakes{})
	good := s.ca.issue(t, "shop-a-1")
	got, err := s.knock(t, with(good))
	if err != nil || got != stream.ProtoAgent+" shop-a-1" {
		t.Errorf("agent: %q, %v", got, err)
	}
	got, err = s.knock(t, func(c *tls.Config) { with(good)(c); c.NextProtos = []string{stream.ProtoPeer} })
	if err != nil || got != stream.ProtoPeer+" shop-a-1" {
		t.Errorf("peer: %q, %v", got, err)
	}
	s.expect(t, wire.ResultOK, 2)
}

// TestDoorKeepsOut: whoever lacks anything gets an error and no byte, and it is
// counted.
func TestDoorKeepsOut(t *testing.T) {
	s := open(t, wire.Handshakes{})
	good := s.ca.issue(t, "shop-a-1")
	forged := good // another's certificate with a key of one's own
	forged.PrivateKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, c := range map[string]struct {
		change func(*tls.Config)
		want   wire.Result
	}{
		"no certificate":          {func(*tls.Config) {}, wire.ResultCertificate},
		"another authority":       {with(newAuthority(t).issue(t, "shop-a-1")), wire.ResultCertificate},
		"certificate without key": {with(forged), wire.ResultProtocol},
		"TLS 1.2":                 {func(c *tls.Config) { with(good)(c); c.MaxVersion = tls.VersionTLS12 }, wire.ResultProtocol},
		"HTTP/2":                  {func(c *tls.Config) { with(good)(c); c.NextProtos = []string{"h2"} }, wire.ResultProtocol},
		"no protocol":             {func(c *tls.Config) { with(good)(c); c.NextProtos = nil }, wire.ResultProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			s.mu.Lock()
			before := s.seen[c.want]
			s.mu.Unlock()
			if got, err := s.knock(t, c.change); err == nil || got != "" {
				t.Errorf("let in: %q, %v", got, err)
			}
			s.expect(t, c.want, before+1)
		})
	}
	s.expect(t, wire.ResultOK, 0)
	if _, err := s.knock(t, with(good)); err != nil {
		t.Errorf("afterwards nobody gets in: %v", err)
	}
}

// TestDoorSurvivesHalfOpen: an attacker holds as many handshakes open as it
// can, from the very address of honest agents. Those get in all the same, and
// the attacker's places are taken back.
func TestDoorSurvivesHalfOpen(t *testing.T) {
	s := open(t, wire.Handshakes{Timeout: 4 * time.Second, Total: 64, PerSource: 32, Failures: 10000})
	good := s.ca.issue(t, "shop-a-1")
	attack := func() {
		c := must((&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr))
		t.Cleanup(func() { _ = c.Close() })
		_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1}) // a hello that never goes on
	}
	knock := func() {
		if _, err := s.knock(t, with(good)); err != nil {
			t.Fatalf("an honest agent beside half-open handshakes: %v", err)
		}
	}
	for range 31 {
		attack()
	}
	knock()                               // accepted in turn: all of them are in
	s.clock.move(2100 * time.Millisecond) // now they are old enough to make room
	attack()                              // the last place
	for range 8 {
		knock()
	}
	s.expect(t, wire.ResultOK, 9)
	s.expect(t, wire.ResultProtocol, 1) // made room
	s.expect(t, wire.ResultTimeout, 31)
}

// TestDoorBansFailures: a source that fails often is no longer listened to, for
// as long as it takes to regain credit; its health checks cost it nothing.
func TestDoorBansFailures(t *testing.T) {
	s := open(t, wire.Handshakes{Failures: 5, PerSecond: 2})
	good := s.ca.issue(t, "shop-a-1")
	for range 20 { // a load balancer looks whether we are there
		_ = must((&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)).Close()
	}
	s.expect(t, wire.ResultSilent, 20)
	for n := range 5 {
		_, _ = s.knock(t, func(*tls.Config) {})
		s.expect(t, wire.ResultCertificate, n+1)
	}
	for n := range 2 {
		if _, err := s.knock(t, with(good)); err == nil {
			t.Error("a source without credit is let in")
		}
		s.expect(t, wire.ResultBanned, n+1)
		s.clock.move(400 * time.Millisecond) // 0.8 of a failure regained, then 1.6
	}
	if _, err := s.knock(t, with(good)); err != nil {
		t.Errorf("the ban does not end: %v", err)
	}
}

// TestDoorRefusesReplay sends every byte of a good handshake again.
func TestDoorRefusesReplay(t *testing.T) {
	s := open(t, wire.Handshakes{Timeout: 2 * time.Second})
	good := s.ca.issue(t, "shop-a-1")
	raw := must((&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr))
	tap := &recording{Conn: raw}
	conn := tls.Client(tap, &tls.Config{
		RootCAs: s.ca.pool(), ServerName: "gateway", NextProtos: []string{stream.ProtoAgent}, Certificates: []tls.Certificate{good},
	})
	if b, err := io.ReadAll(conn); err != nil || len(b) == 0 {
		t.Fatalf("%q, %v", b, err)
	}
	_ = conn.Close()
	again := must((&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr))
	defer again.Close()
	_, _ = again.Write(tap.sent.Bytes())
	_ = again.SetDeadline(time.Now().Add(10 * time.Second))
	b, _ := io.ReadAll(again)
	if bytes.Contains(b, []byte("shop-a-1")) {
		t.Error("the greeting came in clear")
	}
	s.expect(t, wire.ResultProtocol, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(1, s.seen[wire.ResultOK]); diff != "" {
		t.Errorf("handshakes that succeeded (-want +got):\n%s", diff)
	}
}

// TestGuard: a server behind a guard gets only what is through its handshake,
// while an attacker holds as many open as it can.
func TestGuard(t *testing.T) {
	ca := newAuthority(t)
	var seen sync.Map
	var clock watch
	g := &wire.Guard{
		TLS:    &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "gateway-0")}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		Limits: wire.Handshakes{Timeout: 3 * time.Second, Total: 16, PerSource: 8, Failures: 1000},
		Seen:   func(_ netip.Addr, r wire.Result, _ error) { seen.Store(r, true) },
		Now:    clock.now,
	}
	l := must((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))
	done := make(chan error, 1)
	go func() {
		done <- g.Serve(t.Context(), l, func(_ context.Context, l net.Listener) error {
			for {
				c, err := l.Accept()
				if errors.Is(err, net.ErrClosed) {
					return nil
				}
				_, _ = io.WriteString(c, "hello")
				_ = c.Close()
			}
		})
	}()
	attack := func() {
		c := must((&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String()))
		t.Cleanup(func() { _ = c.Close() })
	}
	call := func() {
		c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: ca.pool(), ServerName: "gateway"}}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatalf("an honest caller beside half-open handshakes: %v", err)
		}
		if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		_ = c.Close()
	}
	for range 7 {
		attack()
	}
	call() // accepted in turn: all of them are in
	clock.move(2100 * time.Millisecond)
	attack() // the last place
	for range 4 {
		call()
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, ok := seen.Load(wire.ResultTimeout); ok {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the attacker is never timed out")
		}
	}
	_ = l.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type recording struct {
	net.Conn
	sent bytes.Buffer
}

func (r *recording) Write(p []byte) (int, error) {
	r.sent.Write(p)
	return r.Conn.Write(p)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
