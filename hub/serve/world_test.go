// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/hub/access"
	"github.com/magpie-edge/magpie/hub/cert"
	"github.com/magpie-edge/magpie/hub/serve"
	"github.com/magpie-edge/magpie/topology"
)

// quiet is a logger that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// world is a hub on loopback before an API server of the test's own.
type world struct {
	store *hub.Store
	hub   *serve.Server
	url   string
	http  *http.Client
	// stop ends the hub; it has ended when done is closed.
	stop context.CancelFunc
	done chan struct{}
}

// desk lets "root" do all, "guest" nothing, and knows nobody else.
type desk struct{}

func (desk) Who(_ context.Context, token string) (access.User, error) {
	switch token {
	case "root", "guest":
		return access.User{Name: token}, nil
	case "away":
		return access.User{}, access.ErrUnknown
	}
	return access.User{}, access.ErrUnauthenticated
}

func (desk) May(_ context.Context, u access.User, _ access.Deed) error {
	if u.Name == "guest" {
		return &access.ForbiddenError{Reason: "guests look"}
	}
	return nil
}

// keeper makes certificates for loopback.
func keeper(tb testing.TB) *cert.Keeper {
	tb.Helper()
	k, err := cert.New(cert.Options{
		Dir: tb.TempDir(), Node: "a-1", Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Now: time.Now, Log: quiet,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the server closes it
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// begin starts a hub in front of the handler. Tests wait for each other's
// connections to end, so they do it at the same time.
func begin(t *testing.T, upstream http.Handler) *world {
	t.Helper()
	t.Parallel()
	return start(t, upstream)
}

// start is begin for benchmarks.
func start(tb testing.TB, upstream http.Handler) *world {
	tb.Helper()
	far := keeper(tb)
	up, l := listen(tb), listen(tb)
	apiserver := &http.Server{
		Handler: upstream, TLSConfig: &tls.Config{GetCertificate: far.GetCertificate},
		ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(quiet.Handler(), slog.LevelDebug),
	}
	go apiserver.ServeTLS(up, "", "") //nolint:errcheck // it ends with the test
	tb.Cleanup(func() { apiserver.Close() })

	w := &world{done: make(chan struct{}), url: "https://" + l.Addr().String()}
	w.store = hub.New(hub.Options{Node: "a-1", Log: quiet, Now: time.Now, Cluster: "lab", Window: 16})
	near := keeper(tb)
	var err error
	w.hub, err = serve.New(serve.Options{
		Store: w.store, Review: desk{}, Node: "a-1", Certificate: near.GetCertificate, Now: time.Now, Log: quiet,
		Upstream: &rest.Config{
			Host: "https://" + up.Addr().String(), BearerToken: "ours",
			TLSClientConfig: rest.TLSClientConfig{CAData: far.Bundle()},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() {
		defer close(w.done)
		if err := w.hub.Serve(ctx, l); err != nil {
			tb.Error(err)
		}
	}()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(near.Bundle())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableCompression: true,
	}
	w.http = &http.Client{Transport: transport}
	tb.Cleanup(func() { stop(); transport.CloseIdleConnections(); <-w.done })
	return w
}

// fill tells the Store what the cluster has; of kinds that are not named it
// has nothing.
func (w *world) fill(tb testing.TB, services ...*corev1.Service) {
	tb.Helper()
	w.store.Place(topology.Place{Node: "a-1", Pool: "shop-a", PoolOf: func(string) string { return "" }})
	var all []any
	for _, s := range services {
		all = append(all, s)
	}
	for _, k := range hub.Kinds() {
		list := []any{}
		if k == hub.Services {
			list = all
		}
		if err := w.store.Into(k).Replace(list, "1"); err != nil {
			tb.Fatal(err)
		}
	}
}

func (w *world) put(tb testing.TB, s *corev1.Service) {
	tb.Helper()
	if err := w.store.Into(hub.Services).Update(s); err != nil {
		tb.Fatal(err)
	}
}

func (w *world) drop(tb testing.TB, s *corev1.Service) {
	tb.Helper()
	if err := w.store.Into(hub.Services).Delete(s); err != nil {
		tb.Fatal(err)
	}
}

// service is one in namespace shop; the labels are pairs.
func service(name string, labels ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID(name), ResourceVersion: "7", Labels: map[string]string{},
	}}
	for i := 0; i < len(labels); i += 2 {
		s.Labels[labels[i]] = labels[i+1]
	}
	s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ServiceTypeClusterIP, "10.96.0.1", []string{"10.96.0.1"}
	return s
}

// reply is an answer whose body is closed when the test ends.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.ReadCloser
}

// send sends any request.
func (w *world) send(tb testing.TB, method, path string, headers http.Header) reply {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, w.url+path, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header = headers
	resp, err := w.http.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { resp.Body.Close() })
	return reply{resp.StatusCode, resp.Header, resp.Body}
}

// ask sends a GET as root; the headers are pairs and come last.
func (w *world) ask(tb testing.TB, path string, headers ...string) reply {
	tb.Helper()
	h := http.Header{"Authorization": {"Bearer root"}}
	for i := 0; i < len(headers); i += 2 {
		if h.Del(headers[i]); headers[i+1] != "" {
			h.Set(headers[i], headers[i+1])
		}
	}
	return w.send(tb, http.MethodGet, path, h)
}

// read sends a GET and returns the code and the answer.
func (w *world) read(tb testing.TB, path string, headers ...string) (int, string) {
	tb.Helper()
	resp := w.ask(tb, path, headers...)
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// services sends a GET for a list and returns it.
func (w *world) services(tb testing.TB, path string) (names []string, list corev1.ServiceList) {
	tb.Helper()
	code, text := w.read(tb, path)
	if code != http.StatusOK {
		tb.Fatalf("%s: %d %s", path, code, text)
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		tb.Fatal(err)
	}
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	return names, list
}

// status sends a GET that is refused and returns why.
func (w *world) status(tb testing.TB, path string, headers ...string) metav1.Status {
	tb.Helper()
	code, text := w.read(tb, path, headers...)
	var s metav1.Status
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		tb.Fatalf("%s: %d: %v in %q", path, code, err, text)
	}
	if s.Kind != "Status" || s.APIVersion != "v1" || int(s.Code) != code || s.Status != metav1.StatusFailure {
		tb.Errorf("%s: code %d and %s", path, code, text)
	}
	return s
}

// feed reads the events of a watch as lines "ADDED till 3": of each object the
// name and how much younger it is than from, nothing if it is not.
type feed struct {
	lines *bufio.Reader
	from  uint64
}

func (w *world) watch(tb testing.TB, from uint64, path string) *feed {
	tb.Helper()
	resp := w.ask(tb, path)
	if resp.StatusCode != http.StatusOK {
		tb.Fatalf("%s: %d", path, resp.StatusCode)
	}
	return &feed{bufio.NewReader(resp.Body), from}
}

func (f *feed) next(tb testing.TB) string {
	tb.Helper()
	line, err := f.lines.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	var e struct {
		Type   string
		Object struct {
			metav1.PartialObjectMetadata
			Code   int
			Reason string
		}
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		tb.Fatalf("%v in %q", err, line)
	}
	if e.Type == "ERROR" {
		return fmt.Sprintf("ERROR %d %s", e.Object.Code, e.Object.Reason)
	}
	version, err := strconv.ParseUint(e.Object.ResourceVersion, 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	out := []string{e.Type, e.Object.Name}
	if e.Object.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
		out = append(out, "initial")
	}
	if version > f.from {
		out = append(out, strconv.FormatUint(version-f.from, 10))
	}
	return strings.Join(out, " ")
}
