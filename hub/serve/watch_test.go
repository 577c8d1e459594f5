// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// newest is the version that the hub is at.
func (w *world) newest(tb testing.TB) uint64 {
	tb.Helper()
	_, list := w.services(tb, svc)
	v, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func (f *feed) expect(tb testing.TB, want ...string) {
	tb.Helper()
	for _, line := range want {
		if got := f.next(tb); got != line {
			tb.Errorf("event %q, want %q", got, line)
		}
	}
}

func TestWatchSelected(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a", "tier", "front"), service("b"))
	from := w.newest(t)
	f := w.watch(t, from, fmt.Sprintf("%s?watch=1&resourceVersion=%d&labelSelector=tier%%3Dfront", svc, from))
	w.put(t, service("a", "tier", "front", "n", "1"))
	w.put(t, service("b", "n", "1"))
	w.put(t, service("b", "tier", "front"))
	w.put(t, service("a"))
	w.put(t, service("c", "tier", "front"))
	w.drop(t, service("a"))
	w.drop(t, service("c"))
	f.expect(t, "MODIFIED a 1", "ADDED b 3", "DELETED a 4", "ADDED c 5", "DELETED c 7")
}

// TestWatchList: the initial events end with the bookmark that informers wait
// for, and the changes follow without a gap.
func TestWatchList(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"), service("b"))
	from := w.newest(t)
	f := w.watch(t, from, svc+"?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=")
	f.expect(t, "ADDED a", "ADDED b", "BOOKMARK  initial")
	w.put(t, service("c"))
	f.expect(t, "ADDED c 1")
	// Without bookmarks, and as long ago.
	for _, query := range []string{
		"?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "?watch=true", "?watch=1&resourceVersion=0",
	} {
		f := w.watch(t, from, svc+query)
		f.expect(t, "ADDED a", "ADDED b", "ADDED c 1")
	}
	f = w.watch(t, from, "/api/v1/watch/namespaces/shop/services/b")
	f.expect(t, "ADDED b")
	f = w.watch(t, from, svc+"?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan")
	w.put(t, service("d"))
	f.expect(t, "ADDED d 2")
}

// TestWatchEnds: by its time, with a bookmark that includes what the watch did
// not want, and by the end of the hub.
func TestWatchEnds(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"))
	from := w.newest(t)
	f := w.watch(t, from, fmt.Sprintf("%s?watch=1&resourceVersion=%d&timeoutSeconds=1&allowWatchBookmarks=1&labelSelector=x", svc, from))
	w.put(t, service("b"))
	f.expect(t, "BOOKMARK  1", "EOF")
	f = w.watch(t, from, fmt.Sprintf("%s?watch=1&resourceVersion=%d", svc, from))
	f.expect(t, "ADDED b 1")
	if n := w.hub.Stats().Watchers; n != 1 {
		t.Errorf("%d watchers", n)
	}
	w.stop()
	f.expect(t, "EOF")
	<-w.done
}

// TestWatchExpired: a version that is not remembered is told in the stream, as
// an API server does, whoever it came from.
func TestWatchExpired(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"))
	from := w.newest(t)
	for i := range 100 { // the window is 16
		w.put(t, service("a", "n", strconv.Itoa(i)))
	}
	for _, version := range []uint64{1, 7000, from} {
		f := w.watch(t, from, fmt.Sprintf("%s?watch=1&resourceVersion=%d", svc, version))
		f.expect(t, "ERROR 410 Expired", "EOF")
	}
}

func TestWatchProtobuf(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"))
	resp := w.ask(t, svc+"?watch=1", "Accept", runtime.ContentTypeProtobuf)
	if got := resp.Header.Get("Content-Type"); got != "application/vnd.kubernetes.protobuf;stream=watch" {
		t.Errorf("content type %q", got)
	}
	frame := make([]byte, 1<<16)
	n, err := protobuf.LengthDelimitedFramer.NewFrameReader(resp.Body).Read(frame)
	if err != nil {
		t.Fatal(err)
	}
	var e metav1.WatchEvent
	if err := e.Unmarshal(frame[:n]); err != nil {
		t.Fatal(err)
	}
	o, kind, err := scheme.Codecs.UniversalDeserializer().Decode(e.Object.Raw, nil, nil)
	if err != nil || kind.Kind != "Service" || e.Type != "ADDED" || o.(metav1.Object).GetName() != "a" {
		t.Errorf("%s %v %v: %v", e.Type, kind, o, err)
	}
}

// TestWatchTable: only the first event has the columns.
func TestWatchTable(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"), service("b"))
	resp := w.ask(t, svc+"?watch=1&timeoutSeconds=1", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(string(text), "\n")
	if !strings.Contains(first, `"Cluster-IP"`) || strings.Contains(second, `"Cluster-IP"`) || !strings.Contains(second, `"cells":["b","ClusterIP","10.96.0.1"`) {
		t.Errorf("%s", text)
	}
}

// TestManyWatches: whoever forgets to close them gets no more.
func TestManyWatches(t *testing.T) {
	w := begin(t, http.NotFoundHandler())
	w.fill(t, service("a"))
	for range 128 {
		if resp := w.ask(t, svc+"?watch=1"); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.StatusCode)
		}
	}
	if s := w.status(t, svc+"?watch=1"); s.Code != http.StatusTooManyRequests {
		t.Errorf("one more: %d %s", s.Code, s.Message)
	}
	if names, _ := w.services(t, svc); len(names) != 1 {
		t.Error("lists are refused, too")
	}
}
