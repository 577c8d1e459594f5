// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/directory"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/stream/entry"
)

// badge is a certificate of the tunnel with the authority that its owner
// trusts: what cluster.Certificates keeps.
type badge struct {
	own   tls.Certificate
	roots *x509.CertPool
	ahead time.Duration // of its owner's clock
}

func (b badge) Now() time.Time          { return time.Now() }
func (b badge) ClockOff() time.Duration { return b.ahead }

func (b badge) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &b.own, nil }
func (b badge) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return &b.own, nil
}
func (b badge) Roots() *x509.CertPool { return b.roots }
func (b badge) Who() (identity.Who, bool) {
	who, err := identity.FromCertificate(b.own.Leaf)
	return who, err == nil
}

// world is one cluster: an authority, and who and what there is.
type world struct {
	authority identity.Authority
	port      string // of every instance, for agents and peers

	mu        sync.Mutex
	nodes     map[string]string // name to UID
	routes    map[string][]directory.Route
	instances []cluster.Instance
	users     map[string]cluster.User // by token
	rights    map[string]bool         // "user verb node subresource"
	bells     []chan struct{}
	gone      chan cluster.Removed
	count     int           // instances that were ever made
	ahead     time.Duration // of the clocks of instances
}

func newWorld(t *testing.T) *world {
	t.Helper()
	a, err := identity.NewAuthority(rand.Reader, time.Now())
	check(t, err)
	l := listenLoopback(t)
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(t, errors.Join(err, l.Close()))
	return &world{
		authority: a, port: port, nodes: map[string]string{}, routes: map[string][]directory.Route{},
		users: map[string]cluster.User{}, rights: map[string]bool{}, gone: make(chan cluster.Removed),
	}
}

func (w *world) badge(t *testing.T, kind identity.Kind, name string) badge {
	t.Helper()
	key, err := identity.NewKey(rand.Reader)
	check(t, err)
	g := identity.Grant{Kind: kind, Name: name, Public: &key.PublicKey, Lifetime: time.Hour}
	switch kind {
	case identity.Agent:
		w.mu.Lock()
		if w.nodes[name] == "" {
			w.nodes[name] = "uid-" + name
		}
		g.UID = w.nodes[name]
		w.mu.Unlock()
	case identity.Gateway:
		g.DNS = []string{identity.ServerName}
	case identity.Caller:
	}
	text, err := w.authority.Sign(rand.Reader, time.Now(), g)
	check(t, err)
	chain, err := identity.ParseCertificates(text)
	check(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(w.authority.Certificate)
	return badge{own: tls.Certificate{Certificate: [][]byte{chain[0].Raw}, PrivateKey: key, Leaf: chain[0]}, roots: pool}
}

func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
	for _, b := range w.bells {
		select {
		case b <- struct{}{}:
		default:
		}
	}
}

func (w *world) Ready() error                    { return nil }
func (w *world) Removed() <-chan cluster.Removed { return w.gone }

func (w *world) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bells = append(w.bells, make(chan struct{}, 1))
	return w.bells[len(w.bells)-1]
}

func (w *world) NodeUID(name string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	uid, ok := w.nodes[name]
	return uid, ok
}

// Resolve knows nodes by their names, and what a test has put into routes.
func (w *world) Resolve(host string, port uint16) ([]directory.Route, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r, ok := w.routes[host]; ok {
		r = slices.Clone(r)
		for i := range r {
			r[i].Port = port
		}
		return r, nil
	}
	if _, ok := w.nodes[host]; ok {
		return []directory.Route{{Node: host, Port: port}}, nil
	}
	return nil, directory.ErrUnknown
}

func (w *world) Instances() []cluster.Instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.instances)
}

func (w *world) Authenticate(_ context.Context, token string) (cluster.User, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u, ok := w.users[token]; ok {
		return u, nil
	}
	return cluster.User{}, cluster.ErrUnauthenticated
}

func (w *world) Authorize(_ context.Context, u cluster.User, verb, node, sub string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rights[strings.Join([]string{u.Name, verb, node, sub}, " ")] {
		return nil
	}
	return cluster.ErrForbidden
}

// instance is a gateway that runs.
type instance struct {
	*gateway
	ls   *listeners
	logs *logs
	stop context.CancelFunc // as SIGTERM does
	done chan struct{}
}

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// gateway starts an instance on a loopback address of its own; all instances
// have the same port, as pods have.
func (w *world) gateway(t *testing.T, name string, change func(*Config)) *instance {
	t.Helper()
	w.mu.Lock()
	w.count++
	addr := netip.AddrFrom4([4]byte{127, 0, 0, byte(w.count)})
	w.mu.Unlock()
	c := Default()
	c.Instance, c.Namespace, c.StateDir, c.Drain.Duration = name, "kube-system", t.TempDir(), 2*time.Second
	c.Listen, c.Health = net.JoinHostPort(addr.String(), w.port), "127.0.0.1:0"
	if change != nil {
		change(&c)
	}
	check(t, c.Validate())
	in := &instance{logs: &logs{}, done: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(in.logs, testWriter{t}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	own := w.badge(t, identity.Gateway, name)
	own.ahead = w.ahead
	in.gateway, err = newGateway(c, own, w, log, func() time.Time { return time.Now().Add(w.ahead) })
	check(t, err)
	in.ls, err = in.listen()
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	in.stop = stop
	go func() {
		defer close(in.done)
		if err := in.serve(ctx, in.ls); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-in.done })
	w.change(func() { w.instances = append(w.instances, cluster.Instance{Name: name, Addr: addr, Ready: true}) })
	return in
}

// agent is a node's agent, with everything its node has on one listener.
type agent struct {
	name   string
	server *stream.Server
	told   atomic.Value // stream.Hello, the last one
}

// agent connects a node to instances. Whatever port a stream asks for, it gets
// to what listens at service.
func (w *world) agent(t *testing.T, name, service string, to ...*instance) *agent {
	t.Helper()
	a := &agent{name: name}
	a.server = stream.NewServer(stream.ServerOptions{
		Name: name, Allow: stream.Allow{Ports: []uint16{10250, 9100}, Pods: everywhere}.Check, Now: time.Now,
		Dial: func(ctx context.Context, _ stream.Call) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", service)
		},
		Hello: func(_ net.Conn, h stream.Hello) stream.Answer {
			a.told.Store(h)
			return stream.Answer{Node: name}
		},
	})
	b := w.badge(t, identity.Agent, name)
	for _, in := range to {
		a.connect(t, b, in)
	}
	return a
}

func (a *agent) connect(t *testing.T, b badge, in *instance) {
	t.Helper()
	conn := dialTLS(t, in.ls.agents, b.client(stream.ProtoAgent))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.server.Serve(ctx, conn)
	}()
	t.Cleanup(func() { cancel(); <-done })
	until(t, "session of "+a.name, func() bool { return in.sessions.Has(a.name) })
}

// client is the TLS of whoever dials an instance.
func (b badge) client(proto string) *tls.Config {
	return &tls.Config{RootCAs: b.roots, ServerName: identity.ServerName, NextProtos: []string{proto}, Certificates: []tls.Certificate{b.own}}
}

// echo answers with what it gets, and says first who it is.
func echo(t *testing.T, greeting string) string {
	t.Helper()
	l := listenLoopback(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, greeting)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for: %s", what)
		}
	}
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	return l
}

func dialTLS(t *testing.T, to net.Listener, c *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", to.Addr().String())
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*tls.Conn)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testWriter shows the log of a test that fails.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func entryWish() entry.Wish {
	return entry.Wish{Host: "shop-a-1", Port: 10250, Caller: "http 10.0.0.9"}
}
