// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/internal/reconcile"
)

// testHub is a hub without an API server, with views as the test sets them.
type testHub struct {
	*nodeHub
	shown atomic.Pointer[fleet.View]
	views chan struct{}
	clock atomic.Int64 // seconds that conditions are ahead
}

func newTestHub(t *testing.T, listen ...netip.AddrPort) *testHub {
	t.Helper()
	w := &testHub{views: make(chan struct{}, 1)}
	dir := t.TempDir()
	h, err := newHub(&nodeHub{
		node: "a-1", log: slog.New(slog.DiscardHandler), views: w.views,
		view: func() (fleet.View, error) {
			if v := w.shown.Load(); v != nil {
				return *v, nil
			}
			return fleet.View{}, reconcile.ErrNotReady
		},
		conditions: newConditions(func() time.Time { return time.Now().Add(time.Duration(w.clock.Load()) * time.Second) }),
		dir:        filepath.Join(dir, "hub"), state: filepath.Join(dir, "hub-state"),
		account: &rest.Config{Host: "https://127.0.0.1:1"}, listen: listen, grace: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.nodeHub = h
	return w
}

// start runs the hub until the test ends.
func (w *testHub) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// holds says whether a condition has come to a person's notice.
func (w *testHub) holds(code health.Code) string {
	for _, f := range w.conditions.tracker.Shown(w.conditions.now()) {
		if f.Code == code {
			return f.Detail
		}
	}
	return ""
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func view(pools map[string]string) *fleet.View {
	v := &fleet.View{Self: fleet.Self{Node: "a-1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}}}
	d := fleet.Domain{Name: "shop-a"}
	for _, n := range []string{"a-1", "a-2"} {
		d.Nodes = append(d.Nodes, fleet.Node{Name: n, Pool: pools[n]})
	}
	v.Domains = []fleet.Domain{d}
	return v
}

// freePort is one that nobody listens on at that address.
func freePort(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort() //nolint:forcetypeassert // tcp
}

// TestHubFiles: what callers mount is whole, readable for all, put right when
// somebody breaks it, and taken away with the last of it first.
func TestHubFiles(t *testing.T) {
	w := newTestHub(t)
	check := func() {
		t.Helper()
		if err := w.writeFiles(); err != nil {
			t.Fatal(err)
		}
		for _, f := range client.Files(string(w.certs.Bundle())) {
			path := filepath.Join(w.dir, f.Name)
			text, err := os.ReadFile(path)
			if err != nil || string(text) != f.Text {
				t.Errorf("%s: %v\n%s", f.Name, err, text)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: %v, %v", f.Name, info.Mode(), err)
			}
		}
	}
	check()
	if info, err := os.Stat(w.dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, client.FileCA), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	check()
	for range 2 {
		if err := removeHubFiles(w.dir); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(w.dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestHubKeepsKeysApart: no key is where callers can read it.
func TestHubKeepsKeysApart(t *testing.T) {
	w := newTestHub(t)
	if err := w.writeFiles(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "PRIVATE") {
			t.Errorf("%s holds a key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestHubListens: two addresses, one of which the machine has not, one server;
// and a port that another has is a condition until he is gone.
func TestHubListens(t *testing.T) {
	at := freePort(t, "127.0.0.1")
	other := netip.AddrPortFrom(netip.MustParseAddr(api.HubAddress), at.Port())
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	w := newTestHub(t, at, other)
	w.start(t)
	until(t, "the port is taken", func() bool { w.clock.Add(60); return strings.Contains(w.holds(health.HubDown), "in use") })
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.certs.Bundle())
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	defer c.CloseIdleConnections()
	until(t, "it answers", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+at.String()+"/api/v1/services", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.Do(r)
		if err != nil {
			return false
		}
		defer a.Body.Close()
		_, _ = io.Copy(io.Discard, a.Body)
		if a.StatusCode != http.StatusUnauthorized {
			t.Errorf("without a token: %s", a.Status)
		}
		return true
	})
	// It listens and knows nothing yet: that is told, too.
	w.judge(nil)
	w.clock.Add(60)
	if got := w.holds(health.HubDown); !strings.Contains(got, "nothing is known of services") {
		t.Errorf("hub-down says %q", got)
	}
}

// TestHubNear: who is let in is on this node.
func TestHubNear(t *testing.T) {
	w := newTestHub(t)
	at := netip.MustParseAddr(api.HubAddress)
	near := func(caller string) bool { return w.near(netip.MustParseAddr(caller), at) }
	if near("10.42.1.7") {
		t.Error("pods are let in before the node's own are known")
	}
	w.shown.Store(view(nil))
	for caller, want := range map[string]bool{
		"127.0.0.1": true, api.HubAddress: true, "10.42.1.7": true,
		"10.42.2.7": false, "192.168.1.12": false, "169.254.102.99": false,
	} {
		if got := near(caller); got != want {
			t.Errorf("%s is near: %t", caller, got)
		}
	}
}

// TestHubHangsUpOnStrangers: the listener closes what is not near and goes on.
func TestHubHangsUpOnStrangers(t *testing.T) {
	l, err := listenAll(t.Context(), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.2:0")},
		func(_, at netip.Addr) bool { return at.String() == "127.0.0.2" })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all := l.(*joined).all //nolint:forcetypeassert // what it makes
	for i, wanted := range []bool{false, true} {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", all[i].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if !wanted {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("a stranger is answered")
			}
			conn.Close()
			continue
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		far.Close()
		conn.Close()
	}
	l.Close()
	if _, err := l.Accept(); err == nil {
		t.Error("closed, it still accepts")
	}
}

// TestHubFollowsPools: a node that moves changes what is seen; a View that says
// nothing new about pools does not trouble the Store.
func TestHubFollowsPools(t *testing.T) {
	w := newTestHub(t)
	far := "a-2"
	put := func(k hub.Kind, o any) {
		t.Helper()
		if err := w.store.Into(k).Replace([]any{o}, "1"); err != nil {
			t.Fatal(err)
		}
	}
	put(hub.Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "web", ResourceVersion: "1", Annotations: map[string]string{"openyurt.io/topologyKeys": "openyurt.io/nodepool"},
	}})
	put(hub.EndpointSlices, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", ResourceVersion: "1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.42.2.7"}, NodeName: &far}},
	})
	seen := func() int {
		items, _, err := w.store.List(hub.EndpointSlices)
		if err != nil || len(items) != 1 {
			return -1
		}
		return len(items[0].Object.(*discoveryv1.EndpointSlice).Endpoints) //nolint:forcetypeassert // of that kind
	}
	w.place()
	if got := seen(); got != -1 {
		t.Errorf("before the fleet is known %d endpoints are seen", got)
	}
	for _, step := range []struct {
		pools map[string]string
		want  int
	}{{map[string]string{"a-1": "p", "a-2": "q"}, 0}, {map[string]string{"a-1": "p", "a-2": "p"}, 1}, {map[string]string{"a-1": "r", "a-2": "p"}, 0}} {
		w.shown.Store(view(step.pools))
		w.place()
		if got := seen(); got != step.want {
			t.Errorf("pools %v: %d endpoints are seen, want %d", step.pools, got, step.want)
		}
	}
}

func TestHubStale(t *testing.T) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	kind := func(s hub.Stats) []hub.Stats { s.Kind = hub.Services; return []hub.Stats{s} }
	for name, c := range map[string]struct {
		stats  []hub.Stats
		online bool
		want   string
	}{
		"fresh":       {kind(hub.Stats{Ready: true, Heard: at.Add(-time.Minute)}), true, ""},
		"not wanted":  {kind(hub.Stats{}), false, ""},
		"offline":     {kind(hub.Stats{Ready: true, Heard: at.Add(-time.Minute)}), false, "services as of 2026-11-01T11:59:00Z"},
		"resting":     {kind(hub.Stats{Ready: true, Heard: at.Add(-10 * time.Minute)}), true, ""},
		"silent":      {kind(hub.Stats{Ready: true, Heard: at.Add(-time.Hour)}), true, "services as of 2026-11-01T11:00:00Z"},
		"only a disk": {kind(hub.Stats{Ready: true, Stale: true}), true, "services from disk"},
	} {
		if got := stale(c.stats, c.online, at); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestHubMetrics(t *testing.T) {
	w := newTestHub(t)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newHubMetrics(w.nodeHub))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	kinds := 0
	for _, f := range families {
		if f.GetName() == "magpie_hub_objects" {
			kinds = len(f.GetMetric())
		}
	}
	if kinds != len(hub.Kinds()) {
		t.Errorf("%d kinds have a figure", kinds)
	}
}

func TestHubReason(t *testing.T) {
	if got := reasonOf("unknown-topology"); got != "UnknownTopology" {
		t.Error(got)
	}
}
