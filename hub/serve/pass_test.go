// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seen records what comes to the API server.
type seen struct {
	mu   sync.Mutex
	last *http.Request
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	w.WriteHeader(http.StatusTeapot)
}

func (s *seen) take() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.last
	s.last = nil
	return r
}

// TestRoutes: what is passed to the API server, and what never is.
func TestRoutes(t *testing.T) {
	api := &seen{}
	w := begin(t, api)
	w.fill(t, service("a"))
	for _, c := range []struct {
		request string
		passed  bool
		code    int
	}{
		{"GET /", true, 418},
		{"GET /api", true, 418},
		{"GET /version", true, 418},
		{"GET /api/v1", true, 418},
		{"GET /api/v1/pods", true, 418},
		{"GET /api/v1/namespaces/shop/status", true, 418},
		{"GET /api/v1/namespaces/shop/pods/p/log?follow=true", true, 418},
		{"GET /api/v1/namespaces/shop/services/a/status", true, 418},
		{"GET /api/v1/namespaces/shop/services/a:80/proxy/%2e%2e//x", true, 418},
		{"GET /api/v1/services/a", true, 418},
		{"GET /api/v1/nodes", true, 418},
		{"GET /api/v1/nodes/b-1", true, 418},
		{"GET /api/v1/nodes?fieldSelector=metadata.name%3Db-1", true, 418},
		{"GET /api/v1/nodes/a-1/status", true, 418},
		{"GET /apis/discovery.k8s.io/v1beta1/endpointslices", true, 418},
		{"GET /apis/example.org/v1/services", true, 418},
		{"HEAD /api/v1/services", true, 418},
		{"POST /api/v1/namespaces/shop/services", true, 418},
		{"PUT /api/v1/namespaces/shop/services/a", true, 418},
		{"PATCH /api/v1/namespaces/shop/services/a", true, 418},
		{"DELETE /api/v1/namespaces/shop/services/a", true, 418},
		{"DELETE /apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", true, 418},

		{"GET /api/v1/services", false, 200},
		{"GET /api/v1/namespaces/shop/services/a", false, 200},
		{"GET /api/v1/endpoints", false, 200},
		{"GET /apis/discovery.k8s.io/v1/endpointslices", false, 200},
		{"GET /api/v1/namespaces", false, 200},
		{"GET /api/v1/namespaces/services", false, 404}, // of that name
		{"GET /api/v1/nodes/a-1", false, 404},
		{"GET /api/v1/nodes?fieldSelector=metadata.name%3Da-1", false, 200},
		{"GET /api/v1/%73ervices", false, 200},
		{"GET /api/v1/services?resourceVersion=x", false, 400},
		// Not in the shortest form: not served, and not passed unfiltered.
		{"GET /api/v1/services/", false, 404},
		{"GET //api/v1/services", false, 404},
		{"GET /api//v1/services", false, 404},
		{"GET /api/v1/./services", false, 404},
		{"GET /api/v1/pods/../services", false, 404},
		{"GET /api/v1/namespaces//services", false, 404},
		{"GET /apis/discovery.k8s.io/v1//endpointslices", false, 404},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		resp := w.send(t, method, path, http.Header{"Authorization": {"Bearer root"}})
		if got := api.take() != nil; got != c.passed || resp.StatusCode != c.code {
			t.Errorf("%s: passed %v, code %d; want %v, %d", c.request, got, resp.StatusCode, c.passed, c.code)
		}
	}
}

// TestPassedAsItIs: headers and query come through as the caller wrote them,
// and with no credential of ours.
func TestPassedAsItIs(t *testing.T) {
	api := &seen{}
	w := begin(t, api)
	w.send(t, http.MethodGet, "/api/v1/pods?a=%zz;b&watch=1", http.Header{
		"Authorization": {"Bearer theirs"}, "Impersonate-User": {"eve"}, "X-Remote-User": {"admin"},
		"User-Agent": {"probe/1"}, "Accept": {"application/json"}, "Accept-Encoding": {"br"},
	})
	r := api.take()
	if r == nil || r.URL.RawQuery != "a=%zz;b&watch=1" {
		t.Fatalf("the request that arrived: %+v", r)
	}
	want := http.Header{
		"Authorization": {"Bearer theirs"}, "Impersonate-User": {"eve"}, "X-Remote-User": {"admin"},
		"User-Agent": {"probe/1"}, "Accept": {"application/json"}, "Accept-Encoding": {"br"},
	}
	if d := cmp.Diff(want, r.Header); d != "" {
		t.Errorf("headers (-want +got)\n%s", d)
	}
	if len(r.TLS.PeerCertificates) != 0 {
		t.Error("a certificate of ours was shown")
	}
	w.send(t, http.MethodGet, "/api/v1/pods", http.Header{})
	if r := api.take(); r.Header.Get("Authorization") != "" {
		t.Errorf("without a token: %q was added", r.Header.Get("Authorization"))
	}
}

// TestUpgrade: kubectl exec takes its connection over.
func TestUpgrade(t *testing.T) {
	w := begin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil { // HTTP/2, which can not be taken over
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		buf.Flush()
		line, _ := buf.ReadString('\n')
		fmt.Fprintf(buf, "you said %s", line)
		buf.Flush()
	}))
	for _, protocol := range []string{"SPDY/3.1", "websocket"} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), w.http.Transport.(*http.Transport).TLSClientConfig) //nolint:noctx // closed below
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /api/v1/namespaces/shop/pods/p/exec?command=sh HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
		far := bufio.NewReader(conn)
		resp, err := http.ReadResponse(far, nil) //nolint:bodyclose // it has none: the connection is taken over
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != protocol {
			t.Fatalf("%s: %v %v", protocol, resp, err)
		}
		fmt.Fprintf(conn, "hello\n")
		if got, _ := io.ReadAll(far); string(got) != "you said hello\n" {
			t.Errorf("%s: %q", protocol, got)
		}
		conn.Close()
	}
}

// TestPassedNowhere: an API server that is away is said to be, in a form that
// clients understand.
func TestPassedNowhere(t *testing.T) {
	w := begin(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	if s := w.status(t, "/api/v1/pods"); s.Reason != metav1.StatusReasonServiceUnavailable {
		t.Errorf("%d %s %s", s.Code, s.Reason, s.Message)
	}
}

// TestCallers: who is refused, and in which words.
func TestCallers(t *testing.T) {
	api := &seen{}
	w := begin(t, api)
	w.fill(t, service("a"))
	for _, c := range []struct {
		path    string
		headers []string
		code    int
		says    string
	}{
		{svc, []string{"Authorization", ""}, 401, "Unauthorized"},
		{svc, []string{"Authorization", "Bearer nobody"}, 401, "Unauthorized"},
		{svc, []string{"Authorization", "Basic cm9vdA=="}, 401, "Unauthorized"},
		{svc, []string{"Authorization", "Bearer away"}, 503, "the API server does not answer, and has not said before whether this caller may"},
		{svc, []string{"Authorization", "Bearer guest"}, 403, `services is forbidden: User "guest" cannot list resource "services" in API group "" at the cluster scope: guests look`},
		{
			"/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?watch=1",
			[]string{"Authorization", "Bearer guest"},
			403,
			`endpointslices.discovery.k8s.io is forbidden: User "guest" cannot watch resource "endpointslices" in API group "discovery.k8s.io" in the namespace "shop": guests look`,
		},
		{
			"/api/v1/namespaces/shop/services/a",
			[]string{"Authorization", "Bearer guest"},
			403,
			`services "a" is forbidden: User "guest" cannot get resource "services" in API group "" in the namespace "shop": guests look`,
		},
		{svc, []string{"Impersonate-User", "eve"}, 403, "services is forbidden: the hub answers for the caller himself only: impersonation is the API server's"},
		{svc, []string{"Impersonate-Extra-Scopes", "x"}, 403, "services is forbidden: the hub answers for the caller himself only: impersonation is the API server's"},
		{svc + "?resourceVersion=x", []string{"Authorization", "Bearer guest"}, 403, `services is forbidden: User "guest" cannot list resource "services" in API group "" at the cluster scope: guests look`},
	} {
		if s := w.status(t, c.path, c.headers...); int(s.Code) != c.code || s.Message != c.says {
			t.Errorf("%s %v: %d %s", c.path, c.headers, s.Code, s.Message)
		}
	}
	if names, _ := w.services(t, svc); len(names) != 1 {
		t.Error("root is refused")
	}
	if api.take() != nil {
		t.Error("one of them was passed on")
	}
	if got := w.hub.Stats(); got.Refused != 10 || got.Answered != 1 || got.Passed != 0 {
		t.Errorf("counts %+v", got)
	}
}
