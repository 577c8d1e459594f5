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
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// gateway answers agents with their name and then with whatever they send.
type gateway struct {
	ca   authority
	addr string
}

func newGateway(tb testing.TB, name string, protos ...string) *gateway {
	tb.Helper()
	g := &gateway{ca: newAuthority(tb)}
	own := g.ca.named(tb, name)
	if protos == nil {
		protos = []string{stream.ProtoAgent}
	}
	l := tls.NewListener(listen(tb), &tls.Config{
		Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: g.ca.pool(),
		NextProtos: protos, MinVersion: tls.VersionTLS13,
	})
	g.addr = l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return g
}

// named issues a certificate with that DNS name.
func (a authority) named(tb testing.TB, name string) tls.Certificate {
	tb.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	var lc net.ListenConfig
	l := must(lc.Listen(tb.Context(), "tcp", "127.0.0.1:0"))
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// dialler dials the gateway as an agent that it knows.
func (g *gateway) dialler(tb testing.TB) *wire.Dialler {
	tb.Helper()
	own := g.ca.named(tb, "shop-a-1")
	return &wire.Dialler{
		ServerName:  "magpie-gateway",
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
		Roots:       func() *x509.CertPool { return g.ca.pool() },
		Limit:       5 * time.Second,
	}
}

// echo shows that a connection carries bytes both ways.
func echo(t *testing.T, c net.Conn) {
	t.Helper()
	sent := bytes.Repeat([]byte("magpie "), 20_000)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back, err %v", len(got), err)
	}
}

func stage(err error) wire.Stage {
	if d, is := errors.AsType[*wire.DialError](err); is {
		return d.Stage
	}
	return "no DialError"
}

func TestDial(t *testing.T) {
	g := newGateway(t, "magpie-gateway")
	c, err := g.dialler(t).Dial(t.Context(), g.addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echo(t, c)
}

func TestDialRefuses(t *testing.T) {
	good := newGateway(t, "magpie-gateway")
	named := newGateway(t, "another-name")
	other := newGateway(t, "magpie-gateway", "h2")
	closed := listen(t)
	_ = closed.Close()
	silent := listen(t)
	foreign := newGateway(t, "magpie-gateway")
	for name, c := range map[string]struct {
		addr   string
		want   wire.Stage
		change func(*wire.Dialler)
	}{
		"nobody trusted yet":    {good.addr, wire.StageUnready, func(d *wire.Dialler) { d.Roots = func() *x509.CertPool { return nil } }},
		"nobody listens":        {closed.Addr().String(), wire.StageTCP, nil},
		"nobody answers":        {silent.Addr().String(), wire.StageTLS, nil},
		"another cluster's":     {foreign.addr, wire.StageTLS, nil},
		"not a gateway":         {named.addr, wire.StageTLS, func(d *wire.Dialler) { d.Roots = func() *x509.CertPool { return named.ca.pool() } }},
		"another protocol":      {other.addr, wire.StageTLS, func(d *wire.Dialler) { d.Roots = func() *x509.CertPool { return other.ca.pool() } }},
		"proxy of another kind": {good.addr, wire.StageProxy, func(d *wire.Dialler) { d.Proxy = always("socks5://127.0.0.1:1") }},
		"relay away":            {good.addr, wire.StageRelay, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := good.dialler(t)
			d.Limit = 500 * time.Millisecond
			if c.change != nil {
				c.change(d)
			}
			via := ""
			if c.want == wire.StageRelay {
				via = closed.Addr().String()
			}
			begin := time.Now()
			conn, err := d.Dial(t.Context(), c.addr, via)
			if err == nil {
				_ = conn.Close()
			}
			if got := stage(err); got != c.want {
				t.Errorf("failed at %q: %v", got, err)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func always(proxy string) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return url.Parse(proxy) }
}

// proxy is a real CONNECT proxy made of net/http.
type proxy struct {
	user, password string
	mu             sync.Mutex
	asked          []string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.mu.Unlock()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password))
	if p.user != "" && r.Header.Get("Proxy-Authorization") != want {
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	var d net.Dialer
	far, err := d.DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	_, _ = io.WriteString(near, "HTTP/1.1 200 Connection established\r\nContent-Length: 0\r\n\r\n")
	go func() { _, _ = io.Copy(far, near) }()
	_, _ = io.Copy(near, far)
}

func (p *proxy) serve(t *testing.T, l net.Listener) {
	t.Helper()
	server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func TestDialThroughProxy(t *testing.T) {
	g := newGateway(t, "magpie-gateway")
	p := &proxy{user: "node", password: "s3:cret"}
	l := listen(t)
	p.serve(t, l)
	ca := newAuthority(t)
	secure := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{ca.named(t, "localhost")}, MinVersion: tls.VersionTLS12})
	p.serve(t, secure)
	_, port, _ := net.SplitHostPort(secure.Addr().String())
	for name, c := range map[string]struct {
		url  string
		want wire.Stage
	}{
		"with credentials":  {"http://node:s3%3Acret@" + l.Addr().String(), ""},
		"over TLS":          {"https://node:s3%3Acret@localhost:" + port, ""},
		"without":           {"http://" + l.Addr().String(), wire.StageProxy},
		"wrong credentials": {"http://node:geheim@" + l.Addr().String(), wire.StageProxy},
	} {
		t.Run(name, func(t *testing.T) {
			d := g.dialler(t)
			d.Proxy, d.ProxyRoots = always(c.url), ca.pool()
			conn, err := d.Dial(t.Context(), g.addr, "")
			if c.want != "" {
				if stage(err) != c.want || strings.Contains(err.Error(), "geheim") {
					t.Errorf("err %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			echo(t, conn)
		})
	}
	if p.asked[0] != "CONNECT "+g.addr {
		t.Errorf("asked for %q", p.asked)
	}
}

// TestDialFromEnvironment: HTTPS_PROXY is used, NO_PROXY is honoured, and a
// neighbour's relay is never asked for through a proxy.
func TestDialFromEnvironment(t *testing.T) {
	config := httpproxy.Config{HTTPSProxy: "http://proxy.example.com:3128", NoProxy: "203.0.113.0/24"}
	use := config.ProxyFunc()
	for addr, want := range map[string]string{
		"198.51.100.7:443":      "http://proxy.example.com:3128",
		"lb.example.com:443":    "http://proxy.example.com:3128",
		"203.0.113.11:443":      "",
		"[2001:db8::11]:443":    "http://proxy.example.com:3128",
		"gateway.localnet:8443": "http://proxy.example.com:3128",
	} {
		u, err := use(&url.URL{Scheme: "https", Host: addr})
		if got := text(u); err != nil || got != want {
			t.Errorf("%s goes through %q, err %v", addr, got, err)
		}
	}
	g := newGateway(t, "magpie-gateway")
	d := g.dialler(t)
	d.Proxy = always("http://127.0.0.1:1")
	relay := &wire.Relay{
		Neighbour: func(netip.Addr) bool { return true }, Published: func(string) bool { return true }, Reach: g.dialler(t).Reach,
	}
	conn, err := d.Dial(t.Context(), g.addr, serveRelay(t, relay))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo(t, conn)
}

func text(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}

// TestDialEndsWithContext: a dial that is given up does not wait for its limit.
func TestDialEndsWithContext(t *testing.T) {
	silent := listen(t)
	g := newGateway(t, "magpie-gateway")
	for _, via := range []string{"", silent.Addr().String()} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		begin := time.Now()
		_, err := g.dialler(t).Dial(ctx, silent.Addr().String(), via)
		if !errors.Is(err, context.Canceled) || time.Since(begin) > 2*time.Second {
			t.Errorf("via %q: %v after %s", via, err, time.Since(begin))
		}
	}
}

// TestDeadLinesAreNoticed: both ends of a connection probe when it is silent,
// and give up 30 s after bytes were not acknowledged.
func TestDeadLinesAreNoticed(t *testing.T) {
	l := must(wire.Listen(t.Context(), "127.0.0.1:0"))
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		accepted <- c
		_, _ = io.Copy(c, c)
	}()
	near := must((&wire.Dialler{}).Reach(t.Context(), l.Addr().String()))
	defer near.Close()
	far := <-accepted
	defer far.Close()
	for name, c := range map[string]net.Conn{"dialled": near, "accepted": far} {
		raw := must(c.(*net.TCPConn).SyscallConn())
		err := raw.Control(func(fd uintptr) {
			for _, o := range []struct{ level, option, want int }{
				{syscall.IPPROTO_TCP, 18, 30_000}, // TCP_USER_TIMEOUT
				{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 10},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 10},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
			} {
				if got, err := syscall.GetsockoptInt(int(fd), o.level, o.option); err != nil || got != o.want {
					t.Errorf("%s: option %d is %d, want %d, err %v", name, o.option, got, o.want, err)
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func FuzzProxyReply(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n\x16\x03\x01"))
	f.Add([]byte("HTTP/1.1 407 Proxy Authentication Required\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"))
	f.Add(bytes.Repeat([]byte("A: b\r\n"), 10_000))
	f.Fuzz(func(t *testing.T, reply []byte) {
		near, far := net.Pipe()
		go func() {
			go func() { _, _ = io.Copy(io.Discard, far) }()
			_, _ = far.Write(reply)
			_ = far.Close()
		}()
		c, err := wire.AskConnect(t.Context(), near, "203.0.113.11:443")
		if err == nil && !bytes.HasPrefix(reply, []byte("HTTP/1.")) {
			t.Errorf("%q was taken for a yes", reply)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, c)
		}
		_ = near.Close()
	})
}
