// SPDX-License-Identifier: Apache-2.0

package clients_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/hub/access"
	"github.com/magpie-edge/magpie/hub/cert"
	"github.com/magpie-edge/magpie/hub/serve"
	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/topology"
)

var server *apiserver.Server

// inside are the tests in namespaces of their own, with an API server.
type inside struct{ m *testing.M }

func (i inside) Run() int { return apiserver.Main(i.m, &server) }

func TestMain(m *testing.M) { os.Exit(sandbox.Main(inside{m})) } //nolint:forbidigo // how a TestMain ends

// node is where the hub stands.
const node = "a-1"

// world is a hub.
type world struct {
	store  *hub.Store
	server *serve.Server
	review *access.Reviewer
	line   *line
	url    string
	ca     []byte
	dir    string
	stop   func()

	mu  sync.Mutex
	now time.Duration // how far the clock is ahead for what is remembered
}

// pools are where the nodes of these tests are.
var pools = map[string]string{"a-1": "shop-a", "a-2": "shop-a", "b-1": "shop-b"}

func place(pools map[string]string) topology.Place {
	return topology.Place{Node: node, Pool: pools[node], PoolOf: func(n string) string { return pools[n] }}
}

// begin starts a hub whose state is in dir.
func begin(tb testing.TB, dir string) *world {
	tb.Helper()
	w := &world{dir: dir, line: newLine(tb)}
	quiet := slog.New(slog.DiscardHandler)
	cfg := rest.CopyConfig(server.Config)
	cfg.Host = w.line.host
	keys, err := cert.New(cert.Options{
		Dir: filepath.Join(dir, "keys"), Node: node, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Now: time.Now, Log: quiet,
	})
	if err != nil {
		tb.Fatal(err)
	}
	w.ca = keys.Bundle()
	w.store = hub.New(hub.Options{Node: node, Config: cfg, Log: quiet, Now: time.Now, Dir: dir, Cluster: "lab"})
	w.store.Place(place(pools))
	w.review, err = access.New(access.Options{
		Config: cfg, Path: filepath.Join(dir, "access.json"), Grace: access.DefaultGrace, Now: w.clock, Log: quiet,
	})
	if err != nil {
		tb.Fatal(err)
	}
	w.server, err = serve.New(serve.Options{
		Store: w.store, Review: w.review, Upstream: cfg, Node: node, Certificate: keys.GetCertificate, Now: time.Now, Log: quiet,
	})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // Serve closes it
	if err != nil {
		tb.Fatal(err)
	}
	w.url = "https://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = w.store.Run(ctx) })
	all.Go(func() { _ = w.review.Run(ctx) })
	all.Go(func() { _ = w.server.Serve(ctx, l) })
	w.stop = sync.OnceFunc(func() { cancel(); all.Wait(); w.line.cut() })
	tb.Cleanup(w.stop)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.now)
}

// later sets the reviewer's clock ahead.
func (w *world) later(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += by
}

// config is a client's of the hub.
func (w *world) config(token string) *rest.Config {
	return &rest.Config{Host: w.url, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: w.ca}, QPS: -1}
}

// line carries connections to the API server until it is cut.
type line struct {
	host string

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func newLine(tb testing.TB) *line {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	out := &line{host: "https://" + l.Addr().String()}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go out.carry(near)
		}
	}()
	return out
}

func (l *line) carry(near net.Conn) {
	far, err := net.Dial("tcp", strings.TrimPrefix(server.Config.Host, "https://")) //nolint:noctx // closed by cut
	l.mu.Lock()
	if err != nil || l.down {
		l.mu.Unlock()
		near.Close()
		return
	}
	l.conns = append(l.conns, near, far)
	l.mu.Unlock()
	go func() { _, _ = io.Copy(far, near); far.Close() }()
	_, _ = io.Copy(near, far)
	near.Close()
}

// cut ends all connections and lets no new ones through.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func admin(tb testing.TB) *kubernetes.Clientset {
	tb.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// account makes a namespace with a service account that has the role's rules,
// in that namespace only or in all, and returns a token of it.
func account(tb testing.TB, namespace string, everywhere bool) string {
	tb.Helper()
	kind := "Role"
	if everywhere {
		kind = "ClusterRole"
	}
	text := fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: %[2]s
metadata: {name: reader-%[1]s, namespace: %[1]s}
rules:
- {apiGroups: ["", discovery.k8s.io, events.k8s.io], resources: [services, endpoints, endpointslices, namespaces, events], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: %[2]sBinding
metadata: {name: reader-%[1]s, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %[2]s, name: reader-%[1]s}
subjects: [{kind: ServiceAccount, name: reader, namespace: %[1]s}]
`, namespace, kind)
	if everywhere {
		text = strings.ReplaceAll(text, "metadata: {name: reader-"+namespace+", namespace: "+namespace+"}", "metadata: {name: reader-"+namespace+"}")
	}
	if err := server.ApplyYAML(tb.Context(), text); err != nil {
		tb.Fatal(err)
	}
	return tokenOf(tb, namespace)
}

// tokenOf is a new token of that namespace's account.
func tokenOf(tb testing.TB, namespace string) string {
	tb.Helper()
	t, err := admin(tb).CoreV1().ServiceAccounts(namespace).CreateToken(tb.Context(), "reader", &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return t.Status.Token
}

// shop makes a Service with endpoints on these nodes; the annotations are
// pairs. It goes away with the test.
func shop(tb testing.TB, namespace, name string, nodes []string, annotations ...string) {
	tb.Helper()
	ctx, c := context.Background(), admin(tb)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}}
	for i := 0; i < len(annotations); i += 2 {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, annotations[i], annotations[i+1])
	}
	s.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80}}
	if _, err := c.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		tb.Fatal(err)
	}
	if _, err := c.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice(name, nodes), metav1.CreateOptions{}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		err1 := c.CoreV1().Services(namespace).Delete(ctx, name, metav1.DeleteOptions{})
		err2 := c.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, name, metav1.DeleteOptions{})
		for _, err := range []error{err1, err2} {
			if err != nil && !apierrors.IsNotFound(err) {
				tb.Error(err)
			}
		}
	})
}

// slice has an endpoint 10.42.N.1 for the N-th node.
func slice(name string, nodes []string) *discoveryv1.EndpointSlice {
	port, web, yes := int32(8080), "web", true
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "test"},
	}}
	s.AddressType = discoveryv1.AddressTypeIPv4
	s.Ports = []discoveryv1.EndpointPort{{Name: &web, Port: &port}}
	for i, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.42.%d.1", i+1)}, NodeName: &n,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		})
	}
	return s
}

// get sends a GET and returns code, content type and answer.
func get(tb testing.TB, cfg *rest.Config, path, accept string) (int, string, []byte) {
	tb.Helper()
	pool, err := rest.TLSConfigFor(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool.RootCAs}, ForceAttemptHTTP2: true, DisableCompression: true}
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, cfg.Host+path, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	if cfg.BearerToken != "" {
		r.Header.Set("Authorization", "Bearer "+cfg.BearerToken)
	}
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	resp, err := (&http.Client{Transport: t}).Do(r)
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), text
}

// eventually repeats check until it returns nil.
func eventually(tb testing.TB, check func() error) {
	tb.Helper()
	end := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			tb.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settled waits until the hub shows the newest Service.
func (w *world) settled(tb testing.TB, namespace, name string) {
	tb.Helper()
	eventually(tb, func() error {
		for _, k := range []hub.Kind{hub.Services, hub.EndpointSlices} {
			if o, err := w.store.Get(k, namespace, name); err != nil || o == nil {
				return errors.Join(err, fmt.Errorf("the hub does not show %s %s", k.Resource, name))
			}
		}
		return nil
	})
}

// tool is a program that the lab has built, the newest if no version is given.
func tool(tb testing.TB, name string, version ...string) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	pattern := name + "-v*"
	if len(version) > 0 {
		pattern = name + "-" + version[0]
	}
	found, err := filepath.Glob(filepath.Join(cache, "magpie", "bin", pattern))
	if err != nil || len(found) == 0 {
		if os.Getenv("MAGPIE_TEST_STRICT") == "1" {
			tb.Fatalf("%s is not built: run magpie-lab build --oldest", pattern)
		}
		tb.Skipf("%s is not built: run magpie-lab build --oldest", pattern)
	}
	slices.Sort(found)
	return found[len(found)-1]
}

// kubeconfig writes a client's configuration.
func kubeconfig(tb testing.TB, cfg *rest.Config) string {
	tb.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{
		Server: cfg.Host, CertificateAuthorityData: cfg.CAData, CertificateAuthority: cfg.CAFile,
	}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: cfg.BearerToken}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	path := filepath.Join(tb.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		tb.Fatal(err)
	}
	return path
}
