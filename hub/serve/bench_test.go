// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// BenchmarkList is the first list of a client, of 5,000 Services with two ports.
func BenchmarkList(b *testing.B) {
	w := start(b, http.NotFoundHandler())
	var many []*corev1.Service
	for i := range 5000 {
		s := service(fmt.Sprintf("s-%04d", i), "app", "shop", "tier", "front")
		s.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80}, {Name: "tls", Port: 443}}
		many = append(many, s)
	}
	w.fill(b, many...)
	for _, media := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		b.Run(media, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				resp := w.ask(b, svc, "Accept", media)
				n, err := io.Copy(io.Discard, resp.Body)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}

// BenchmarkEvent is one change on its way to a client that watches.
func BenchmarkEvent(b *testing.B) {
	w := start(b, http.NotFoundHandler())
	w.fill(b, service("a"))
	f := w.watch(b, w.newest(b), svc+"?watch=1&resourceVersion=0")
	f.next(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		w.put(b, service("a", "n", fmt.Sprint(n)))
		f.next(b)
	}
}
