// SPDX-License-Identifier: Apache-2.0

package clients_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// TestProtobufLikeAPIServer puts the questions that kube-proxy, kubelet and
// CoreDNS of any version put in protobuf to the hub and to the API server: first
// lists as client-go makes them with and without WatchList, watches, errors.
func TestProtobufLikeAPIServer(t *testing.T) {
	const media = runtime.ContentTypeProtobuf
	w := begin(t, t.TempDir())
	token := account(t, "binary", true)
	shop(t, "binary", "till", []string{"a-1", "b-1"})
	shop(t, "binary", "scale", []string{"a-2", "a-1", "b-1", "b-1"})
	w.settled(t, "binary", "till")
	w.settled(t, "binary", "scale")
	services, slices := "/api/v1/namespaces/binary/services", "/apis/discovery.k8s.io/v1/namespaces/binary/endpointslices"
	// As kube-proxy selects them.
	const proxied = "labelSelector=%21service.kubernetes.io%2Fheadless%2C%21service.kubernetes.io%2Fservice-proxy-name"
	for _, q := range []struct{ path, accept string }{
		{services + "?limit=500&resourceVersion=0&" + proxied, media},
		{slices + "?limit=500&resourceVersion=0&" + proxied, media},
		{slices + "?limit=500&resourceVersion=0", media + ",application/json"},
		{"/api/v1/namespaces/binary/endpoints?limit=500&resourceVersion=0", media},
		{services + "?limit=1", media},
		{services + "?resourceVersion=", media},
		{services + "/till", media},
		{services + "/none", media},
		{slices + "/scale", media},
		{services + "?labelSelector=-", media},
		{services + "?resourceVersion=x", media},
		{services + "?resourceVersion=0&watch=true&timeoutSeconds=2&" + proxied, media},
		{slices + "?resourceVersion=0&watch=true&timeoutSeconds=2&" + proxied, media},
		{"/api/v1/namespaces/binary/endpoints?resourceVersion=0&watch=true&timeoutSeconds=2", media},
		{services + "?resourceVersion=0&watch=true&timeoutSeconds=2", media + ";stream=watch"},
		{services + "?sendInitialEvents=true", media},
		{"/api/v1/namespaces/binary", media},
	} {
		t.Run(q.path+" "+q.accept, func(t *testing.T) {
			t.Parallel() // watches last
			want, got := askBinary(t, server.Config, token, q.path, q.accept), askBinary(t, w.config(""), token, q.path, q.accept)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-api server +hub)\n%s", d)
			}
			if len(want) < 2 && !strings.Contains(q.path, "/endpoints?") {
				t.Errorf("nothing to compare: %v", want)
			}
		})
	}
}

// askBinary is ask for an answer in protobuf.
func askBinary(t *testing.T, cfg *rest.Config, token, path, accept string) []string {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.BearerToken = token
	code, media, text := get(t, cfg, path, accept)
	out := []string{fmt.Sprintf("%d %s", code, media)}
	if !strings.Contains(media, "stream=watch") {
		return append(out, decode(t, path, text))
	}
	frames := protobuf.LengthDelimitedFramer.NewFrameReader(io.NopCloser(bytes.NewReader(text)))
	buf := make([]byte, 1<<20)
	for {
		n, err := frames.Read(buf)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var e metav1.WatchEvent
		if err := e.Unmarshal(buf[:n]); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, e.Type+" "+decode(t, path, e.Object.Raw))
	}
}

// decode reads an object and returns it as JSON without what must differ.
func decode(t *testing.T, path string, text []byte) string {
	t.Helper()
	o, kind, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v in %q", path, err, text)
	}
	var v any
	js, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(js, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	plain(v)
	line, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s", kind, line)
}
