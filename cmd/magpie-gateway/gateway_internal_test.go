// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/identity"
)

// site serves HTTP at the edge.
func site(t *testing.T, says string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, says+" "+r.URL.RequestURI())
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// connectUnix asks for a target as kube-apiserver does over a unix socket.
func connectUnix(t *testing.T, path, target string) (status string, conn net.Conn) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	_, err = io.WriteString(c, "CONNECT "+target+" HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: konnectivity\r\n\r\n")
	check(t, err)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect}) //nolint:bodyclose // what there is goes with the connection
	check(t, err)
	if resp.StatusCode == http.StatusOK && r.Buffered() != 0 {
		t.Errorf("%d bytes follow the answer at once: kube-apiserver refuses that", r.Buffered())
	}
	return resp.Status, c
}

// TestConnectUnix: the way of a control plane on this machine.
func TestConnectUnix(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "connect.sock")
	in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Unix = path })
	until(t, "ready", func() bool { return in.ready() == nil })
	w.agent(t, "shop-a-1", site(t, "hello from the edge"), in)

	status, c := connectUnix(t, path, "shop-a-1:10250")
	if status != "200 Connection established" {
		t.Fatal(status)
	}
	_, err := io.WriteString(c, "GET /pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	check(t, err)
	b, err := io.ReadAll(c)
	check(t, err)
	if !strings.HasSuffix(string(b), "hello from the edge /pods") {
		t.Errorf("got %q", b)
	}
	_ = c.Close()
	until(t, "line of audit", func() bool {
		return strings.Contains(in.logs.String(), `msg="stream ended" caller="connect unix" node=shop-a-1 target=shop-a-1:10250 code=done`)
	})
	for target, want := range map[string]string{
		"shop-b-1:10250":        "403 not-allowed: shop-b-1:10250: no node, pod or Service",
		"shop-a-1:22":           "403 not-allowed: port 22 of a node is not on the list [10250]",
		"127.0.0.1:10250":       "403 not-allowed: 127.0.0.1:10250: no node, pod or Service",
		"169.254.169.254:80":    "403 not-allowed: 169.254.169.254:80: no node, pod or Service",
		"shop-a-1":              "400 bad-request",
		"user@shop-a-1:10250":   "400 bad-request",
		"shop-a-1:010250":       "400 bad-request",
		"[fe80::1%25lo]:10250":  "400 bad-request",
		"0x7f.1:10250":          "400 bad-request",
		"shop-a-1.:10250/../..": "400",
	} {
		if status, _ := connectUnix(t, path, target); !strings.HasPrefix(status, want) {
			t.Errorf("CONNECT %s: %s, want %s", target, status, want)
		}
	}
}

// TestConnectTLS: the way of a control plane on another machine. Only a
// caller's certificate of this tunnel gets in.
func TestConnectTLS(t *testing.T) {
	w := newWorld(t)
	cluster := newWorld(t) // the cluster's own authority, which signs kubelets, too
	file := filepath.Join(t.TempDir(), "ca.crt")
	node, authority := kubelet(t, cluster)
	var bundle bytes.Buffer
	for _, der := range [][]byte{cluster.authority.Certificate.Raw, authority} {
		check(t, pem.Encode(&bundle, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	check(t, os.WriteFile(file, bundle.Bytes(), 0o600))
	in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Listen, c.Entries.Connect.ClientCA = "127.0.0.1:0", file })
	w.agent(t, "shop-a-1", site(t, "hello"), in)
	until(t, "ready", func() bool { return in.ready() == nil })
	ask := func(b *badge) string {
		c := w.badge(t, identity.Caller, "any").client("http/1.1")
		c.Certificates = nil
		if b != nil {
			c.Certificates = []tls.Certificate{b.own}
		}
		conn := dialTLS(t, in.ls.connect, c)
		_, err := io.WriteString(conn, "CONNECT shop-a-1:10250 HTTP/1.1\r\nHost: shop-a-1:10250\r\n\r\n")
		check(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
		check(t, errors.Join(err, resp.Body.Close()))
		return resp.Status
	}
	caller := w.badge(t, identity.Caller, "kube-apiserver")
	if got := ask(&caller); !strings.HasPrefix(got, "200") {
		t.Errorf("the API server: %s", got)
	}
	second := cluster.badge(t, identity.Caller, "kube-apiserver")
	if got := ask(&second); !strings.HasPrefix(got, "200") {
		t.Errorf("the API server, by the cluster's authority: %s", got)
	}
	stranger := newWorld(t).badge(t, identity.Caller, "kube-apiserver")
	agent, gateway := w.badge(t, identity.Agent, "shop-a-1"), w.badge(t, identity.Gateway, "gw-1")
	for name, b := range map[string]*badge{
		"a kubelet's": &node, "no certificate": nil, "another cluster's": &stranger, "an agent's": &agent, "a gateway's": &gateway,
	} {
		if got := ask(b); !strings.HasPrefix(got, "401 unauthenticated") {
			t.Errorf("%s: %s", name, got)
		}
	}
	until(t, "audit", func() bool { return strings.Count(in.logs.String(), "code=unauthenticated") == 5 })
}

// kubelet is a certificate as kubelets have it, and the authority that signed it.
func kubelet(t *testing.T, w *world) (b badge, authority []byte) {
	t.Helper()
	b = w.badge(t, identity.Caller, "x")
	key, err := identity.NewKey(rand.Reader)
	check(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		Subject: pkix.Name{CommonName: "kubernetes"}, KeyUsage: x509.KeyUsageCertSign,
	}
	authority, err = x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	check(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		Subject: pkix.Name{CommonName: "system:node:shop-b-1", Organization: []string{"system:nodes"}},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	check(t, err)
	b.own = tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}
	return b, authority
}

// TestConnectHTTP2: a client that speaks HTTP/2 gets several streams on one
// connection.
func TestConnectHTTP2(t *testing.T) {
	w := newWorld(t)
	in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Listen = "127.0.0.1:0" })
	w.agent(t, "shop-a-1", echo(t, "hi "), in)
	until(t, "ready", func() bool { return in.ready() == nil })
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: w.badge(t, identity.Caller, "kube-apiserver").client("h2")}
	t.Cleanup(tr.CloseIdleConnections)
	for range 3 {
		body, words := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "https://"+in.ls.connect.Addr().String(), body)
		check(t, err)
		req.Host = "shop-a-1:10250"
		resp, err := tr.RoundTrip(req)
		check(t, err)
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", resp.Proto, resp.Status)
		}
		_, err = io.WriteString(words, "there")
		check(t, err)
		got := make([]byte, len("hi there"))
		_, err = io.ReadFull(resp.Body, got)
		check(t, err)
		if string(got) != "hi there" {
			t.Errorf("got %q", got)
		}
		_ = words.Close()
		_ = resp.Body.Close()
	}
	until(t, "three ends", func() bool { return strings.Count(in.logs.String(), `msg="stream ended"`) == 3 })
}

// TestWrongClock: gateways whose machines' clocks are days off let in whoever
// may come in, and each other; certificates are judged by the API server's time.
func TestWrongClock(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"ahead": 40 * time.Hour, "behind": -40 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ahead = ahead
			path := filepath.Join(t.TempDir(), "connect.sock")
			in := w.gateway(t, "gw-0", func(c *Config) { c.Entries.Connect.Unix = path })
			other := w.gateway(t, "gw-1", nil)
			until(t, "ready", func() bool { return in.ready() == nil && other.ready() == nil })
			w.agent(t, "shop-a-1", site(t, "hello"), in)
			w.agent(t, "shop-b-1", site(t, "hello"), other)
			until(t, "peers", func() bool { return in.peers.Has("gw-1") })
			for _, target := range []string{"shop-a-1:10250", "shop-b-1:10250"} {
				if status, _ := connectUnix(t, path, target); status != "200 Connection established" {
					t.Errorf("%s: %s", target, status)
				}
			}
			if got := in.count(t, "magpie_tunnel_clock_offset_seconds"); got != ahead.Seconds() {
				t.Errorf("the metric says %v s", got)
			}
			s := in.sessions.List()[0]
			if left := s.Expires.Sub(in.now()); left < 50*time.Minute || left > time.Hour {
				t.Errorf("by its clock, the session's certificate ends in %v, and that is an hour", left)
			}
		})
	}
}
