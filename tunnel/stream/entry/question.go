// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// question is what a caller of HTTP asks of which node.
type question struct {
	node  string
	port  uint16
	path  string
	query string
}

// read finds the node that a request is about. Three forms are understood, the
// first that a request has counts:
//
//	/nodes/NAME[:PORT]/metrics
//	/metrics?nodeName=NAME[:PORT]
//	Host: NAME:PORT, as of a proxy, or where NAME resolves to the gateway
//
// Without a port, or with the one that the caller had to dial to get here, the
// kubelet is meant.
func (h *HTTP) read(r *http.Request) (question, error) {
	q := question{path: r.URL.Path, query: r.URL.RawQuery}
	if r.Method == http.MethodConnect {
		if r.ContentLength > 0 || len(r.TransferEncoding) != 0 || r.Header.Get(":protocol") != "" {
			return q, errUpgrade
		}
		var err error
		q.path, q.query = "", ""
		q.node, q.port, err = parseAuthority(r.Host)
		return q, err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.ContentLength != 0 || len(r.TransferEncoding) != 0 ||
		r.Header.Get("Upgrade") != "" {
		return q, errUpgrade
	}
	if p := path.Clean(q.path); r.URL.RawPath != "" || p != q.path && p+"/" != q.path || strings.ContainsAny(q.path, "\\\x00") {
		return q, errors.New("the path must be in its shortest form")
	}
	return h.locate(r, q)
}

func (h *HTTP) locate(r *http.Request, q question) (question, error) {
	values, err := url.ParseQuery(q.query)
	if err != nil {
		return q, errors.New("the query can not be read")
	}
	where := r.Host
	if here, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && !proxied(r) {
		_, port, _ := net.SplitHostPort(here.String()) // none, if it is no TCP address
		where = strings.TrimSuffix(where, ":"+port)
	}
	switch rest, inPath := strings.CutPrefix(q.path, "/nodes/"); {
	case inPath:
		where, rest, _ = strings.Cut(rest, "/")
		q.path = "/" + rest
	case values.Has("nodeName"):
		if len(values["nodeName"]) != 1 {
			return q, errors.New("nodeName stands there more than once")
		}
		where = values.Get("nodeName")
		values.Del("nodeName")
		q.query = values.Encode()
	}
	q.node, q.port, err = h.nodePort(where)
	return q, err
}

// nodePort reads NAME or NAME:PORT.
func (h *HTTP) nodePort(s string) (string, uint16, error) {
	if !strings.Contains(s, ":") {
		name, err := parseName(s)
		return name, h.Kubelet, err
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not NAME:PORT", clip(s))
	}
	n, err := parsePort(port)
	if err != nil {
		return "", 0, err
	}
	name, err := parseName(host)
	return name, n, err
}

// reads are the paths of a kubelet that read, with the subresources of nodes
// that allow it. Not here, and so refused: exec, run, attach, portForward and
// containerLogs, which a kubelet takes for "get" when they come as websockets.
// Source: kubernetes pkg/kubelet/server/auth.go.
var reads = []struct {
	path         string
	subresources []string
}{
	{"/metrics", []string{"metrics"}},
	{"/stats", []string{"stats"}},
	{"/healthz", []string{"healthz", "proxy"}},
	{"/configz", []string{"configz", "proxy"}},
	{"/pods", []string{"pods", "proxy"}},
	{"/runningpods", []string{"pods", "proxy"}},
}

// subresources returns which right the question needs. A CONNECT to a kubelet
// needs any right to read, because the kubelet asks its caller again; one to
// another port needs the right to everything.
func (h *HTTP) subresources(q question) ([]string, error) {
	switch {
	case q.path == "" && q.port == h.Kubelet:
		return []string{"metrics", "stats", "proxy"}, nil
	case q.port != h.Kubelet && (q.path == "/metrics" || strings.HasPrefix(q.path, "/metrics/")):
		return []string{"metrics", "proxy"}, nil
	case q.port != h.Kubelet:
		return []string{"proxy"}, nil
	}
	for _, read := range reads {
		if q.path == read.path || strings.HasPrefix(q.path, read.path+"/") {
			return slices.Clone(read.subresources), nil
		}
	}
	return nil, fmt.Errorf("path %q of a kubelet is not read through this entry", clip(q.path))
}
