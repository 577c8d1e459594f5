// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// svc is where the Services are.
const svc = "/api/v1/services"

func TestSelect(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	other := service("b", "tier", "front")
	other.Namespace = "bank"
	open := service("c", "tier", "back")
	open.Spec.Type, open.Spec.ClusterIP = corev1.ServiceTypeNodePort, "10.96.0.9"
	w.fill(t, service("a", "tier", "front"), other, open)
	for query, want := range map[string][]string{
		svc:                                      {"b", "a", "c"}, // by namespace
		"/api/v1/namespaces/shop/services":       {"a", "c"},
		"/api/v1/namespaces/none/services":       nil,
		svc + "?labelSelector=tier%3Dfront":      {"b", "a"},
		svc + "?labelSelector=tier+in+(back)":    {"c"},
		svc + "?labelSelector=!tier":             nil,
		svc + "?fieldSelector=metadata.name%3Da": {"a"},
		svc + "?fieldSelector=metadata.name!%3Da,metadata.namespace%3Dshop":    {"c"},
		svc + "?fieldSelector=spec.type%3DNodePort":                            {"c"},
		svc + "?fieldSelector=spec.clusterIP%3D10.96.0.1":                      {"b", "a"},
		"/api/v1/namespaces/bank/services?fieldSelector=spec.type%3DClusterIP": {"b"},
		"/api/v1/namespaces/shop/services?labelSelector=tier%3Dfront&limit=1":  {"a"},
		"/apis/discovery.k8s.io/v1/endpointslices":                             nil,
		"/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices":             nil,
		"/api/v1/endpoints": nil,
		"/api/v1/nodes?fieldSelector=metadata.name%3Da-1": nil,
	} {
		got, list := w.services(t, query)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", query, d)
		}
		if list.Items == nil || !strings.HasSuffix(list.Kind, "List") || list.APIVersion == "" {
			t.Errorf("%s: %s %s, items %v", query, list.APIVersion, list.Kind, list.Items)
		}
	}
}

// TestVersionOfOne: what is read by itself can be written back, so it has the
// version of the API server; what is listed has the hub's.
func TestVersionOfOne(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"))
	_, text := w.read(t, "/api/v1/namespaces/shop/services/a")
	var one corev1.Service
	if err := json.Unmarshal([]byte(text), &one); err != nil {
		t.Fatal(err)
	}
	_, list := w.services(t, svc)
	if one.ResourceVersion != "7" || one.Kind != "Service" || one.APIVersion != "v1" || list.Items[0].ResourceVersion == "7" {
		t.Errorf("by itself %s, in the list %s\n%s", one.ResourceVersion, list.Items[0].ResourceVersion, text)
	}
	if s := w.status(t, "/api/v1/namespaces/shop/services/b"); s.Reason != metav1.StatusReasonNotFound || s.Message != `services "b" not found` {
		t.Errorf("one that is not there: %s %q", s.Reason, s.Message)
	}
}

func TestPages(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"), service("b"), service("c"), service("d"), service("e"))
	first, list := w.services(t, svc+"?limit=2")
	if d := cmp.Diff([]string{"a", "b"}, first); d != "" || list.RemainingItemCount == nil || *list.RemainingItemCount != 3 {
		t.Fatalf("first page %v, remaining %v", first, list.RemainingItemCount)
	}
	// What happens meanwhile is not in this list.
	w.drop(t, service("d"))
	w.put(t, service("cc"))
	second, next := w.services(t, svc+"?limit=2&continue="+list.Continue)
	if d := cmp.Diff([]string{"c", "d"}, second); d != "" || next.ResourceVersion != list.ResourceVersion {
		t.Errorf("second page of %s at %s (-want +got)\n%s", list.ResourceVersion, next.ResourceVersion, d)
	}
	last, end := w.services(t, svc+"?limit=2&continue="+next.Continue)
	if d := cmp.Diff([]string{"e"}, last); d != "" || end.Continue != "" {
		t.Errorf("last page, continue %q (-want +got)\n%s", end.Continue, d)
	}
	// In memory there are no pages.
	if all, _ := w.services(t, svc+"?limit=2&resourceVersion=0"); len(all) != 5 {
		t.Errorf("resourceVersion 0 with a limit: %v", all)
	}
	// A list that is not remembered goes on with what is now, if the caller
	// wants that.
	for i := range 9 {
		w.put(t, service("z", "n", strconv.Itoa(i)))
		w.services(t, svc+"?limit=2")
	}
	s := w.status(t, svc+"?limit=2&continue="+list.Continue)
	if s.Code != http.StatusGone || s.Reason != metav1.StatusReasonExpired || s.Continue == "" {
		t.Fatalf("a list of before: %+v", s)
	}
	if rest, _ := w.services(t, svc+"?continue="+s.Continue); cmp.Diff([]string{"c", "cc", "e", "z"}, rest) != "" {
		t.Errorf("the rest of now: %v", rest)
	}
}

// TestVersions: which state a list may be of.
func TestVersions(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"))
	_, list := w.services(t, svc)
	now, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{
		"?resourceVersion=0":                                                 200,
		"?resourceVersion=12":                                                200, // of the API server
		fmt.Sprintf("?resourceVersion=%d", now):                              200,
		"?resourceVersion=12&resourceVersionMatch=NotOlderThan":              200,
		fmt.Sprintf("?resourceVersion=%d&resourceVersionMatch=Exact", now):   200,
		fmt.Sprintf("?resourceVersion=%d&limit=1", now):                      200,
		"?resourceVersion=12&resourceVersionMatch=Exact":                     410,
		"?resourceVersion=12&limit=1":                                        410,
		fmt.Sprintf("?resourceVersion=%d", now+1):                            504,
		fmt.Sprintf("?resourceVersion=%d&resourceVersionMatch=Exact", now+1): 504,
		"?resourceVersion=x":                                                 400,
		"?resourceVersion=-1":                                                400,
		"?continue=x":                                                        400,
		"?continue=e30":                                                      400,
		"?resourceVersionMatch=Exact":                                        422,
		"?resourceVersion=0&resourceVersionMatch=Exact":                      422,
		"?resourceVersion=1&resourceVersionMatch=Some":                       422,
		"?sendInitialEvents=true":                                            422,
		"?labelSelector=a%3D%3D%3D":                                          400,
		"?fieldSelector=spec.ports%3D1":                                      400,
		"?limit=x":                                                           400,
		"?watch=1&sendInitialEvents=true":                                    422,
		"?watch=1&resourceVersionMatch=NotOlderThan":                         422,
		fmt.Sprintf("?watch=1&resourceVersion=%d", now+1):                    504,
		fmt.Sprintf("?watch=1&resourceVersion=%d&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", now+1): 504,
	} {
		if want == 200 {
			w.services(t, svc+query)
			continue
		}
		s := w.status(t, svc+query)
		if int(s.Code) != want {
			t.Errorf("%s: %d %s, want %d", query, s.Code, s.Message, want)
		}
		if want == 504 && (s.Details == nil || len(s.Details.Causes) != 1 || s.Details.Causes[0].Type != metav1.CauseTypeResourceVersionTooLarge) {
			t.Errorf("%s: %+v", query, s.Details)
		}
	}
}

// TestForms: every form of the same answer.
func TestForms(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"))
	const table = ";as=Table;v=v1;g=meta.k8s.io"
	const some = ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	const one = ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	for _, c := range []struct{ path, accept, media, begins string }{
		{svc, "", "application/json", `{"kind":"ServiceList"`},
		{svc, "*/*", "application/json", `{"kind":"ServiceList"`},
		{svc, "application/*", "application/json", `{"kind":"ServiceList"`},
		{svc, "text/plain, application/yaml", "application/yaml", "apiVersion: v1\n"},
		{svc, "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf", "k8s\x00"},
		{svc, "application/vnd.kubernetes.protobuf;q=0.5,application/json", "application/json", `{"kind":"ServiceList"`},
		{svc, "application/json" + table + ",application/json", "application/json", `{"kind":"Table"`},
		{svc, "application/vnd.kubernetes.protobuf" + table + ",application/yaml" + table, "application/yaml", "apiVersion: meta.k8s.io/v1\n"},
		{svc, "application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "application/json", `{"kind":"ServiceList"`},
		{svc, "application/json" + some, "application/json", `{"kind":"PartialObjectMetadataList"`},
		{svc, "application/vnd.kubernetes.protobuf" + some, "application/vnd.kubernetes.protobuf", "k8s\x00"},
		{"/api/v1/namespaces/shop/services/a", "application/json" + one, "application/json", `{"kind":"PartialObjectMetadata"`},
		{"/api/v1/namespaces/shop/services/a", "application/json" + table, "application/json", `{"kind":"Table"`},
		{svc + "?pretty=1", "", "application/json", "{\n"},
		// Nothing that there is.
		{svc, "text/plain", "application/json", `{"kind":"Status"`},
		{svc, "application/vnd.kubernetes.protobuf" + table, "application/json", `{"kind":"Status"`},
		{svc, "application/json" + one, "application/json", `{"kind":"Status"`},
		{"/api/v1/namespaces/shop/services/a", "application/json" + some, "application/json", `{"kind":"Status"`},
		{svc + "?watch=1", "application/yaml", "application/yaml", "apiVersion: v1\n"},
	} {
		resp := w.ask(t, c.path, "Accept", c.accept)
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		refused := strings.Contains(c.begins, "Status") || strings.Contains(c.path, "watch")
		if (resp.StatusCode == http.StatusNotAcceptable) != refused || resp.Header.Get("Content-Type") != c.media || !strings.HasPrefix(string(text), c.begins) {
			t.Errorf("%s, accept %q: %d %s %.60q", c.path, c.accept, resp.StatusCode, resp.Header.Get("Content-Type"), text)
		}
	}
}

// TestProtobuf: what clients decode is what JSON says.
func TestProtobuf(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a", "tier", "front"), service("b"))
	_, text := w.read(t, svc, "Accept", runtime.ContentTypeProtobuf)
	got, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, want := w.services(t, svc)
	for i := range want.Items { // JSON has no kinds in lists either
		want.Items[i].TypeMeta = metav1.TypeMeta{}
	}
	got.GetObjectKind().SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceList"))
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("(-json +protobuf)\n%s", d)
	}
}

// TestCompressed: long answers are, short ones are not, and both say the same.
func TestCompressed(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	var many []*corev1.Service
	for i := range 1000 {
		many = append(many, service(fmt.Sprintf("s-%04d", i)))
	}
	w.fill(t, many...)
	resp := w.ask(t, svc, "Accept-Encoding", "deflate, gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("a long answer has encoding %q", resp.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if _, plain := w.read(t, svc); plain != string(text) {
		t.Error("compressed it says something else")
	}
	resp = w.ask(t, svc+"?limit=3", "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "" {
		t.Error("a short answer is compressed")
	}
}

// TestNotReady: what is not known is not empty, and not the API server's.
func TestNotReady(t *testing.T) {
	w := begin(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was passed on", r.URL) }))
	var all sync.WaitGroup
	for _, p := range []string{svc, svc + "?watch=1", "/api/v1/namespaces/shop/services/a"} {
		all.Go(func() {
			resp := w.ask(t, p)
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" {
				t.Errorf("%s: %d, retry after %q", p, resp.StatusCode, resp.Header.Get("Retry-After"))
			}
		})
	}
	all.Wait()
}
