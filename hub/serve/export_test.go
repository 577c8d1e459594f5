// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net/http"

	"k8s.io/apimachinery/pkg/labels"
)

// Route is route without what it returns for the server only.
func Route(r *http.Request, node string) (path string, ours bool, err error) {
	q, ours, err := route(r, node)
	if !ours || err != nil {
		return "", ours, err
	}
	path = "/" + q.verb + "/" + q.namespace + "/" + q.Kind.Resource + "/" + q.name
	if q.err == nil && q.verb != verbGet {
		f := q.filter()
		f.wants(f.blank())
		f.labels.Matches(labels.Set{})
	}
	return path, true, q.err
}

// Negotiate is negotiate; it returns what is written.
func Negotiate(r *http.Request) (media, as string, ok bool) {
	f, ok := negotiate(r, true)
	return f.media, string(f.as), ok
}

// Token reads a token and writes it again.
func Token(s string) (string, error) {
	t, err := decodeToken(s)
	if err != nil {
		return "", err
	}
	return t.encode(), nil
}
