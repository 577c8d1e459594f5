// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

const (
	// maxToken is more than any service account's token has.
	maxToken = 16 << 10
	// firstByte is how long a node may take to begin its answer, wholeAnswer how
	// long the caller may take to read it.
	firstByte   = 30 * time.Second
	wholeAnswer = 5 * time.Minute
)

// HTTP is the entry for programs that read from nodes over HTTP: Prometheus,
// metrics-server. A caller shows a token of the cluster; the API server says
// whose it is and whether that account may read this of this node.
//
// The gateway has no right of its own towards kubelets: the caller's token goes
// on to the kubelet, and to nothing else. So nobody gets more here than at the
// kubelet's own door.
type HTTP struct {
	Roads *Roads
	// May returns the account that a token belongs to, if it may have access. Its
	// error is a *stream.Refusal, CodeUnauthenticated or CodeForbidden.
	May func(ctx context.Context, token string, a Access) (account string, err error)
	// Kubelet is the port of nodes on which TLS is spoken and the token shown.
	Kubelet uint16
	// Roots have signed the kubelets' certificates. Nil: the node's end of the
	// tunnel is proof enough; a node that is dialled directly is then refused,
	// because nothing would prove who answers.
	Roots *x509.CertPool
	// Header is how long a caller's request may take to arrive. Default 10 s.
	Header time.Duration
	// Conns that one address may hold. Default 1024.
	Conns int
}

// Access is what a caller wants to do to a node; having the right to any one of
// the subresources suffices.
type Access struct {
	Node         string
	Verb         string
	Subresources []string
}

// Serve accepts callers from l, a TLS listener, until l is closed, and returns
// when the last of them is gone. The end of ctx cuts all of them.
func (h *HTTP) Serve(ctx context.Context, l net.Listener) error {
	var callers sync.WaitGroup
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			callers.Add(1)
			defer callers.Done()
			h.serve(ctx, w, r)
		}),
		ReadTimeout:    cmp.Or(h.Header, headerTime), // requests have no body
		WriteTimeout:   wholeAnswer,
		IdleTimeout:    idleTime,
		MaxHeaderBytes: maxHeader + maxToken,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnState:      newCrowd(h.Conns).watch,
	}
	return serve(ctx, s, l, &callers)
}

func (h *HTTP) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	err := h.handle(ctx, w, r)
	if err == nil {
		return
	}
	why := refusal(err, stream.CodeReset)
	w.Header().Set(headerCode, string(why.Code))
	w.Header().Set("Connection", "close") // a stranger does not stay
	code := status(why.Code)
	if why.Code == stream.CodeUnauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
		if proxied(r) {
			w.Header().Set("Proxy-Authenticate", "Bearer")
			code = http.StatusProxyAuthRequired
		}
	}
	http.Error(w, why.Error(), code)
}

// handle answers one request, or returns why it does not.
func (h *HTTP) handle(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	wish := Wish{Node: true, Caller: "http " + source(textAddr(r.RemoteAddr)).String()}
	q, err := h.read(r)
	wish.Host, wish.Port = q.node, q.port
	if err != nil {
		return h.Roads.Refuse(wish, stream.CodeBadRequest, err.Error())
	}
	token := bearer(r)
	if token == "" {
		return h.Roads.Refuse(wish, stream.CodeUnauthenticated, "show a token of this cluster: Authorization: Bearer")
	}
	subresources, err := h.subresources(q)
	if err != nil {
		return h.Roads.Refuse(wish, stream.CodeNotAllowed, err.Error())
	}
	account, err := h.May(r.Context(), token, Access{Node: q.node, Verb: "get", Subresources: subresources})
	if err != nil {
		why := refusal(err, stream.CodeForbidden)
		return h.Roads.Refuse(wish, why.Code, why.Text)
	}
	wish.Caller = "http " + account
	if r.Method != http.MethodConnect {
		return h.pass(w, r, q, wish)
	}
	far, err := h.Roads.Open(r.Context(), wish)
	if err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	near, err := accepted(w, r)
	if err != nil {
		_ = far.Close()
		return nil //nolint:nilerr // the caller is gone, there is nobody to tell
	}
	join(ctx, near, far, h.Roads.Now)
	return nil
}

// pass sends the request to the node on a stream of its own, so that each line
// of audit has one caller, and the answer back.
func (h *HTTP) pass(w http.ResponseWriter, r *http.Request, q question, wish Wish) error {
	var failed error
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		ResponseHeaderTimeout: firstByte, MaxResponseHeaderBytes: maxHeader,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.Roads.Open(ctx, wish)
		},
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.dialKubelet(ctx, wish)
		},
	}
	proxy := &httputil.ReverseProxy{
		Transport:    transport,
		Rewrite:      func(p *httputil.ProxyRequest) { h.rewrite(p, q) },
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
	}
	proxy.ServeHTTP(w, r)
	return failed
}

// rewrite makes the request that the node sees: nothing of the caller's header
// that could speak for somebody else, and the token for the kubelet only.
func (h *HTTP) rewrite(p *httputil.ProxyRequest, q question) {
	p.Out.URL = &url.URL{Scheme: "http", Host: Wish{Host: q.node, Port: q.port}.String(), Path: q.path, RawQuery: q.query}
	p.Out.Host = p.Out.URL.Host
	token := bearer(p.In)
	kept := http.Header{}
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent", "If-None-Match", "X-Prometheus-Scrape-Timeout-Seconds"} {
		if v := p.In.Header.Values(name); len(v) > 0 {
			kept[name] = v
		}
	}
	p.Out.Header = kept
	if q.port == h.Kubelet {
		p.Out.URL.Scheme = "https"
		kept.Set("Authorization", "Bearer "+token)
	}
}

// dialKubelet opens a stream and speaks TLS on it.
func (h *HTTP) dialKubelet(ctx context.Context, wish Wish) (net.Conn, error) {
	far, err := h.Roads.Open(ctx, wish)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: wish.Host, RootCAs: h.Roots}
	if h.Roots == nil {
		if _, direct := far.(*counted); direct {
			_ = far.Close()
			return nil, &stream.Refusal{
				Code: stream.CodeNotAllowed,
				Text: "a node on a private line needs entries.http.kubeletCA, or nothing proves who gets the token",
			}
		}
		config.InsecureSkipVerify = true // the agent's certificate has proved the node, and it dials loopback only
	}
	conn := tls.Client(far, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = far.Close()
		return nil, err
	}
	return conn, nil
}

// bearer is the token that a request shows: to a proxy in its own header, so
// that the one for the node stays apart.
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if proxied(r) {
		values = r.Header.Values("Proxy-Authorization")
	}
	if len(values) != 1 || len(values[0]) > maxToken {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.ContainsAny(token, " \t,") {
		return ""
	}
	return token
}

// proxied reports whether the caller takes us for a proxy and not for a server.
func proxied(r *http.Request) bool { return r.Method == http.MethodConnect || r.URL.IsAbs() }

// textAddr is the address of a request's connection.
type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

var errUpgrade = errors.New("this entry is for reading: GET and HEAD without a body, no upgrade")
