// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/hub/serve"
)

// FuzzRoute: whatever a path comes to mean once it is cleaned, a request for a
// kind of the hub never leaves it.
func FuzzRoute(f *testing.F) {
	for _, p := range []string{
		"/api/v1/services", "/api/v1/namespaces/shop/services/a", "/api/v1/watch/services", "/api/v1/nodes/a-1",
		"/api/v1//services/", "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/x/../endpoints",
	} {
		f.Add(p, "labelSelector=a%3Db&fieldSelector=metadata.name%3Da-1&limit=5")
		f.Add(p, "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=3")
	}
	f.Fuzz(func(t *testing.T, p, query string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: p, RawQuery: query}, Header: http.Header{}}
		_, ours, err := serve.Route(r, "a-1")
		_, again, _ := serve.Route(&http.Request{
			Method: http.MethodGet, URL: &url.URL{Path: path.Clean("/" + p), RawQuery: query}, Header: http.Header{},
		}, "a-1")
		if ours != again {
			t.Errorf("%q is ours: %v; in its shortest form: %v", p, ours, again)
		}
		if !ours && err != nil {
			t.Errorf("%q is passed on with error %v", p, err)
		}
		for _, kind := range []string{"/api/v1/services", "/api/v1/endpoints", "/apis/discovery.k8s.io/v1/endpointslices"} {
			if strings.TrimRight(p, "/") == kind && !ours {
				t.Errorf("%q is passed on", p)
			}
		}
	})
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io;q=0.3,application/json;stream=watch, */*;q=0")
	f.Add("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/yaml")
	f.Fuzz(func(t *testing.T, accept string) {
		r := &http.Request{URL: &url.URL{}, Header: http.Header{"Accept": {accept}}}
		media, as, ok := serve.Negotiate(r)
		switch {
		case !ok && media != "":
			t.Errorf("%q: %q although there is none", accept, media)
		case ok && as == "Table" && strings.HasSuffix(media, "protobuf"):
			t.Errorf("%q: a table in protobuf", accept)
		case ok && as != "" && !strings.Contains(accept, as):
			t.Errorf("%q: nobody asked for %s", accept, as)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJzaG9wL2EifQ")
	f.Add("e30")
	f.Fuzz(func(t *testing.T, s string) {
		once, err := serve.Token(s)
		if err != nil {
			return
		}
		if twice, err := serve.Token(once); err != nil || twice != once {
			t.Errorf("%q becomes %q, then %q, %v", s, once, twice, err)
		}
	})
}
