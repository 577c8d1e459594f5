// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// cloud is an authority and the gateway instances of one cluster, on loopback:
// real doors, real sessions.
type cloud struct {
	t     *testing.T
	ca    identity.Authority
	roots *x509.CertPool

	mu        sync.Mutex
	instances []*instance
}

type instance struct {
	name     string
	addr     string
	sessions *stream.Sessions
	stop     func()
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	ca, err := identity.NewAuthority(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, ca: ca, roots: x509.NewCertPool()}
	c.roots.AddCert(ca.Certificate)
	return c
}

// issue signs a certificate as magpie-manager does.
func (c *cloud) issue(kind identity.Kind, name string) *tls.Certificate {
	c.t.Helper()
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	grant := identity.Grant{Kind: kind, Name: name, Public: &key.PublicKey, Lifetime: identity.Lifetime}
	if kind == identity.Agent {
		grant.UID = "uid-of-" + name
	} else {
		grant.DNS = []string{identity.ServerName}
	}
	text, err := c.ca.Sign(rand.Reader, time.Now(), grant)
	if err != nil {
		c.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}
}

// start runs another instance; at is where it listens, "" for anywhere.
func (c *cloud) start(name, at string) *instance {
	c.t.Helper()
	if at == "" {
		at = "127.0.0.1:0"
	}
	l := listenOn(c.t, at)
	own := c.issue(identity.Gateway, name)
	g := &instance{name: name, addr: l.Addr().String()}
	g.sessions = stream.NewSessions(stream.SessionsOptions{
		Allow: func(stream.Target) error { return nil }, // so that the agent's own list is what refuses
		Hello: func() stream.Hello { return stream.Hello{Instance: name, Instances: c.names(), Version: "test"} },
		Now:   time.Now,
	})
	door := &wire.Door{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own, nil },
		Verify: func(_ string, chain []*x509.Certificate) (stream.Far, error) {
			who, err := identity.Verify(chain, c.roots, time.Now(), identity.Agent)
			return stream.Far{Name: who.Name, UID: who.UID, Expires: who.Expires}, err
		},
		Handle: map[string]func(context.Context, net.Conn, stream.Far){
			stream.ProtoAgent: func(ctx context.Context, conn net.Conn, far stream.Far) { _ = g.sessions.Serve(ctx, conn, far) },
		},
		Now: time.Now,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- door.Serve(ctx, l) }()
	g.stop = sync.OnceFunc(func() {
		c.forget(g)
		_ = l.Close()
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(g.stop)
	c.mu.Lock()
	c.instances = append(c.instances, g)
	c.mu.Unlock()
	return g
}

// forget takes an instance out of the balancer and out of greetings.
func (c *cloud) forget(g *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instances = slices.DeleteFunc(c.instances, func(x *instance) bool { return x == g })
}

func (c *cloud) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, g := range c.instances {
		out = append(out, g.name)
	}
	return out
}

// balance listens at one address and hands each connection to the next
// instance in turn.
func (c *cloud) balance() string {
	c.t.Helper()
	l := listenOn(c.t, "127.0.0.1:0")
	var turn atomic.Int64
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			n := len(c.instances)
			addr := ""
			if n > 0 {
				addr = c.instances[int(turn.Add(1))%n].addr
			}
			c.mu.Unlock()
			go splice(near, addr)
		}
	}()
	return l.Addr().String()
}

// splice carries a connection to addr.
func splice(near net.Conn, addr string) {
	defer near.Close()
	var d net.Dialer
	far, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	}()
	_, _ = io.Copy(near, far)
}

func listenOn(t *testing.T, at string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// issued are the certificates of one agent, as cluster.Certificates has them.
type issued struct {
	own     atomic.Pointer[tls.Certificate]
	roots   *x509.CertPool
	changed chan struct{}
	ahead   atomic.Int64 // nanoseconds of the node's clock
}

func (c *issued) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if own := c.own.Load(); own != nil {
		return own, nil
	}
	return nil, errors.New("none yet")
}
func (c *issued) Roots() *x509.CertPool    { return c.roots }
func (c *issued) Changed() <-chan struct{} { return c.changed }
func (c *issued) Trouble() error           { return nil }
func (c *issued) Now() time.Time           { return time.Now() }
func (c *issued) ClockOff() time.Duration  { return time.Duration(c.ahead.Load()) }
func (c *issued) Who() (identity.Who, bool) {
	own := c.own.Load()
	if own == nil {
		return identity.Who{}, false
	}
	who, err := identity.FromCertificate(own.Leaf)
	return who, err == nil
}

func (c *issued) renew(own *tls.Certificate) {
	c.own.Store(own)
	c.changed <- struct{}{}
}

// edge is one agent's end under test.
type edge struct {
	*omTunnel
	certs   *issued
	current atomic.Pointer[fleet.View]
	wake    chan struct{}
	stop    func()
}

// echoPort listens on loopback like a kubelet, and says back what it hears.
func echoPort(t *testing.T) int {
	t.Helper()
	l := listenOn(t, "127.0.0.1:0")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newEdge makes an agent that dials these addresses; nothing runs yet.
func newEdge(t *testing.T, c *cloud, name string, ports []int, addresses ...string) *edge {
	t.Helper()
	e := &edge{certs: &issued{roots: c.roots, changed: make(chan struct{}, 1)}, wake: make(chan struct{}, 1)}
	e.certs.own.Store(c.issue(identity.Agent, name))
	e.current.Store(viewOf(name, addresses...))
	config := Default().Tunnel
	config.Ports = ports
	e.omTunnel = newTunnel(&omTunnel{
		config: config, node: name, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		view: func() (fleet.View, error) { return *e.current.Load(), nil }, views: e.wake,
		certs: e.certs, conditions: newConditions(time.Now),
	}, wire.Dialler{ServerName: identity.ServerName})
	return e
}

// viewOf is a site of one node and the addresses that the cloud publishes.
func viewOf(name string, addresses ...string) *fleet.View {
	slices.Sort(addresses)
	return &fleet.View{
		Self: fleet.Self{Node: name, Domain: "gw-shop-a", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("127.64.0.0/16")}},
		Domains: []fleet.Domain{
			{Name: "gw-cloud", Cloud: true, Tunnels: addresses},
			{Name: "gw-shop-a", Nodes: []fleet.Node{{Name: name}}},
		},
	}
}

// publish changes what the View says.
func (e *edge) publish(v *fleet.View) {
	e.current.Store(v)
	e.wake <- struct{}{}
}

// run runs the tunnel until the test ends or stop is called.
func (e *edge) run(t *testing.T) *edge {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.omTunnel.run(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the tunnel does not end")
		}
	})
	t.Cleanup(e.stop)
	return e
}

// instancesOf are the instances that the agent has sessions with, as often as
// it has.
func (e *edge) instancesOf() []string {
	var out []string
	for _, s := range e.Sessions() {
		out = append(out, s.Instance)
	}
	return out
}

// eventually waits until ok, and fails with what is then.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(within); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %s: %s", within, what)
}

func (e *edge) has(t *testing.T, within time.Duration, instances ...string) {
	t.Helper()
	eventually(t, within, "sessions with each instance once", func() bool { return slices.Equal(e.instancesOf(), instances) })
}

// talk opens a stream and shows that it carries bytes.
func (g *instance) talk(t *testing.T, node string, port int) stream.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := g.sessions.Open(ctx, stream.Call{Target: stream.Target{Node: node, Port: uint16(port)}, Caller: "test"})
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, "hello")
	return c
}

// say writes and reads back.
func say(t *testing.T, c stream.Conn, text string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("said %q, heard %q: %v", text, got, err)
	}
}

// refused opens a stream that must be refused, and returns the code.
func (g *instance) refused(t *testing.T, target stream.Target) stream.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := g.sessions.Open(ctx, stream.Call{Target: target})
	if err == nil {
		_ = c.Close()
		return "opened"
	}
	if r, is := errors.AsType[*stream.Refusal](err); is {
		return r.Code
	}
	t.Fatalf("%s: %v", target, err)
	return ""
}
