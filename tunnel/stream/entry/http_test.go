// SPDX-License-Identifier: Apache-2.0

package entry_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/stream/entry"
)

// office is an HTTP entry with one caller, who may read metrics, and one who
// may do everything.
func office(t *testing.T, w *town, change func(*entry.HTTP)) (addr string) {
	t.Helper()
	h := &entry.HTTP{Roads: w.Roads, Kubelet: 10250, May: func(_ context.Context, token string, a entry.Access) (string, error) {
		switch {
		case token == "prometheus" && slices.Contains(a.Subresources, "metrics"), token == "admin" && slices.Contains(a.Subresources, "proxy"):
			return token, nil
		case token == "prometheus" || token == "admin":
			return "", &stream.Refusal{Code: stream.CodeForbidden, Text: "no right"}
		}
		return "", &stream.Refusal{Code: stream.CodeUnauthenticated, Text: "nobody's"}
	}}
	if change != nil {
		change(h)
	}
	return open(t, bare, h.Serve)
}

// say sends a request as it stands and returns status and body.
func say(t *testing.T, to, request string) (int, string) {
	t.Helper()
	c := write(t, to, request)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

// TestHTTP: three ways to say which node, and what the node gets to see.
func TestHTTP(t *testing.T) {
	w, k := newTown(), kubelet(t)
	exporter := httptest.NewServer(k.Config.Handler)
	t.Cleanup(exporter.Close)
	w.nodes["shop-a-1"] = at(k)
	to := office(t, w, nil)
	for request, want := range map[string]string{
		"GET /nodes/shop-a-1/metrics/cadvisor?x=1 HTTP/1.1\r\nHost: gw\r\n":                                                                          "shop-a-1:10250 /metrics/cadvisor?x=1 Authorization=Bearer prometheus",
		"GET /metrics?nodeName=shop-a-1&x=1 HTTP/1.1\r\nHost: gw:10295\r\n":                                                                          "shop-a-1:10250 /metrics?x=1 Authorization=Bearer prometheus",
		"GET /metrics HTTP/1.1\r\nHost: shop-a-1\r\n":                                                                                                "shop-a-1:10250 /metrics Authorization=Bearer prometheus",
		"GET /metrics HTTP/1.1\r\nHost: shop-a-1" + to[strings.LastIndex(to, ":"):] + "\r\n":                                                         "shop-a-1:10250 /metrics Authorization=Bearer prometheus",
		"GET /metrics HTTP/1.1\r\nHost: Shop-A-1.:10250\r\nImpersonate-User: root\r\n":                                                               "shop-a-1:10250 /metrics Authorization=Bearer prometheus",
		"GET /metrics HTTP/1.1\r\nHost: shop-a-1\r\nX-Remote-User: root\r\nX-Forwarded-For: 1.2.3.4\r\nCookie: a=b\r\nConnection: Authorization\r\n": "shop-a-1:10250 /metrics Authorization=Bearer prometheus",
	} {
		status, got := say(t, to, request+"Authorization: Bearer prometheus\r\n\r\n")
		if status != http.StatusOK || strings.TrimSpace(got) != want {
			t.Errorf("%q: %d %q, want %q", request, status, got, want)
		}
	}
	w.mu.Lock()
	w.nodes["shop-a-1"] = at(exporter)
	w.mu.Unlock()
	// Another port is not the kubelet, and gets no token.
	status, got := say(t, to, "GET /nodes/shop-a-1:9100/metrics HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer prometheus\r\n\r\n")
	if status != 200 || strings.TrimSpace(got) != "shop-a-1:9100 /metrics" {
		t.Errorf("exporter: %d %q", status, got)
	}
	status, got = say(t, to, "GET http://shop-a-1:9100/metrics HTTP/1.1\r\nHost: shop-a-1:9100\r\nProxy-Authorization: Bearer prometheus\r\nAuthorization: Bearer mine\r\n\r\n")
	if status != 200 || strings.TrimSpace(got) != "shop-a-1:9100 /metrics" {
		t.Errorf("as a proxy: %d %q", status, got)
	}
}

// TestHTTPKeepsOut: every attempt is refused with its reason and never reaches
// the node.
func TestHTTPKeepsOut(t *testing.T) {
	w := newTown()
	reached := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the node got %s %s", r.Method, r.URL)
	}))
	t.Cleanup(reached.Close)
	w.nodes["shop-a-1"] = at(reached)
	to := office(t, w, nil)
	prometheus, admin := "Authorization: Bearer prometheus\r\n\r\n", "Authorization: Bearer admin\r\n\r\n"
	for _, c := range []struct {
		request string
		status  int
		code    string
	}{
		{"GET /nodes/shop-a-1/metrics HTTP/1.1\r\nHost: gw\r\n\r\n", 401, "unauthenticated"},
		{"GET /nodes/shop-a-1/metrics HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer false\r\n\r\n", 401, "unauthenticated"},
		{"GET /nodes/shop-a-1/metrics HTTP/1.1\r\nHost: gw\r\nAuthorization: Basic cHJvbWV0aGV1cw==\r\n\r\n", 401, "unauthenticated"},
		{"GET /nodes/shop-a-1/metrics HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer a\r\n" + prometheus, 401, "unauthenticated"},
		{"GET http://shop-a-1:9100/metrics HTTP/1.1\r\nHost: shop-a-1:9100\r\n" + prometheus, 407, "unauthenticated"},
		{"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\n" + prometheus, 403, "forbidden"},
		{"GET /nodes/shop-a-1/exec/ns/pod/c?command=id HTTP/1.1\r\nHost: gw\r\n" + admin, 403, "not-allowed"},
		{"GET /nodes/shop-a-1/run/ns/pod/c HTTP/1.1\r\nHost: gw\r\n" + admin, 403, "not-allowed"},
		{"GET /nodes/shop-a-1/logs/ HTTP/1.1\r\nHost: gw\r\n" + admin, 403, "not-allowed"},
		{"GET /nodes/shop-a-1/metrics/../exec/x HTTP/1.1\r\nHost: gw\r\n" + admin, 400, "bad-request"},
		{"GET /nodes/shop-a-1/metrics/%2e%2e/exec/x HTTP/1.1\r\nHost: gw\r\n" + admin, 400, "bad-request"},
		{"GET /nodes/shop-a-1/metrics%2f..%2fexec HTTP/1.1\r\nHost: gw\r\n" + admin, 400, "bad-request"},
		{"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + admin, 400, "bad-request"},
		{"POST /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nContent-Length: 0\r\n" + admin, 400, "bad-request"},
		{"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer admin\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\nAuthorization: Bearer admin\r\n\r\nGET /", 400, "bad-request"},
		{"GET /metrics?nodeName=shop-a-1&nodeName=shop-b-1 HTTP/1.1\r\nHost: gw\r\n" + admin, 400, "bad-request"},
		{"GET /metrics?nodeName=shop-a-1;x HTTP/1.1\r\nHost: gw\r\n" + admin, 400, "bad-request"},
		{"GET /nodes/127.0.0.1/metrics HTTP/1.1\r\nHost: gw\r\n" + admin, 400, "bad-request"},
		{"GET /nodes/shop-a-1:22/metrics HTTP/1.1\r\nHost: gw\r\n" + admin, 403, "not-allowed"},
		{"GET /nodes/shop-z/metrics HTTP/1.1\r\nHost: gw\r\n" + prometheus, 403, "not-allowed"},
	} {
		w.mu.Lock()
		w.records = nil
		w.mu.Unlock()
		status, got := say(t, to, c.request)
		if status != c.status || !strings.HasPrefix(got, c.code) {
			t.Errorf("%q: %d %q, want %d %s", c.request, status, got, c.status, c.code)
		}
		w.expect(t, "http "+c.code)
	}
	// What net/http itself refuses never comes to us; it must be refused all the
	// same.
	for _, request := range []string{
		"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nHost: shop-b-1\r\n" + admin,
		"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nContent-Length: 3\r\nContent-Length: 4\r\n" + admin + "abcd",
		"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: xchunked\r\n" + admin,
		"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nAuthorization : Bearer admin\r\n\r\n",
		"GET /nodes/shop-a-1/pods HTTP/1.1\r\nHost: gw\r\nX: " + strings.Repeat("a", 1<<16) + "\r\n" + admin,
	} {
		if status, _ := say(t, to, request); status < 400 || status == 407 {
			t.Errorf("%.80q: %d", request, status)
		}
	}
}

// TestHTTPConnect: whoever takes the entry for a proxy gets TLS to the kubelet
// end to end, after showing a token to the proxy.
func TestHTTPConnect(t *testing.T) {
	w, k := newTown(), kubelet(t)
	w.nodes["shop-a-1"] = at(k)
	to := office(t, w, nil)
	c := write(t, to, "CONNECT shop-a-1:10250 HTTP/1.1\r\nHost: shop-a-1:10250\r\nProxy-Authorization: Bearer prometheus\r\n\r\n")
	if line, err := bufio.NewReader(io.LimitReader(c, int64(len("HTTP/1.1 200 Connection established\r\n\r\n")))).ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		t.Fatalf("%q, %v", line, err)
	}
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	_, _ = io.WriteString(conn, "GET /pods HTTP/1.1\r\nHost: shop-a-1:10250\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "shop-a-1:10250 /pods") {
		t.Errorf("%q, %v", b, err)
	}
	if status, got := say(t, to, "CONNECT shop-a-1:10250 HTTP/1.1\r\nHost: shop-a-1:10250\r\n\r\n"); status != 407 {
		t.Errorf("without a token: %d %q", status, got)
	}
	if status, got := say(t, to, "CONNECT shop-a-1:9100 HTTP/1.1\r\nHost: shop-a-1:9100\r\nProxy-Authorization: Bearer prometheus\r\n\r\n"); status != 403 {
		t.Errorf("another port with a right to metrics: %d %q", status, got)
	}
}

// TestHTTPProvesKubelet: a node that is dialled without the tunnel has proved
// nothing, so its kubelet must, before it gets a token.
func TestHTTPProvesKubelet(t *testing.T) {
	w, k := newTown(), kubelet(t)
	w.direct["example.com"], w.direct["plant-c-1"] = at(k), at(k)
	request := func(node string) string {
		return "GET /nodes/" + node + "/metrics HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer prometheus\r\n\r\n"
	}
	if status, got := say(t, office(t, w, nil), request("example.com")); status != 403 || !strings.Contains(got, "kubeletCA") {
		t.Errorf("without an authority: %d %q", status, got)
	}
	trust := x509.NewCertPool()
	trust.AddCert(k.Certificate())
	to := office(t, w, func(h *entry.HTTP) { h.Roots = trust })
	if status, got := say(t, to, request("example.com")); status != 200 {
		t.Errorf("with one: %d %q", status, got)
	}
	if status, got := say(t, to, request("plant-c-1")); status != 502 {
		t.Errorf("another name in the certificate: %d %q", status, got)
	}
}

// TestHTTPCrowd: one address does not get all connections there are, and has
// room again when it lets go.
func TestHTTPCrowd(t *testing.T) {
	w, k := newTown(), kubelet(t)
	w.nodes["shop-a-1"] = at(k)
	to := office(t, w, func(h *entry.HTTP) { h.Conns = 5 })
	var held []net.Conn
	for range 5 {
		held = append(held, dial(t, to))
	}
	for end := time.Now().Add(10 * time.Second); ; { // until the server has seen all five
		c := dial(t, to)
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		_ = c.Close()
		if late, ok := errors.AsType[net.Error](err); !ok || !late.Timeout() {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a sixth connection stays")
		}
	}
	for _, c := range held {
		_ = c.Close()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c := write(t, to, "GET /nodes/shop-a-1/metrics HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer prometheus\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			if _ = r.Body.Close(); r.StatusCode != http.StatusOK {
				t.Error(r.Status)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after all were closed: %v", err)
		}
	}
}

// TestHTTPSlow: callers that do not finish their requests, or never read, leave
// room for others and are cut.
func TestHTTPSlow(t *testing.T) {
	w, k := newTown(), kubelet(t)
	w.nodes["shop-a-1"] = at(k)
	to := office(t, w, func(h *entry.HTTP) { h.Header = time.Second })
	var stuck []net.Conn
	for range 50 {
		stuck = append(stuck, write(t, to, "GET /nodes/shop-a-1/metrics HTTP/1.1\r\nX-A: b\r\n"))
	}
	if status, got := say(t, to, "GET /nodes/shop-a-1/metrics HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer prometheus\r\n\r\n"); status != 200 {
		t.Errorf("beside them: %d %q", status, got)
	}
	_ = stuck[0].SetReadDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.ReadAll(stuck[0]); err != nil {
		t.Errorf("a header that never ends is not given up: %v", err)
	}
}
