// SPDX-License-Identifier: Apache-2.0

package entry_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/stream/entry"
)

// town is where roads lead in a test: services on loopback, by node.
type town struct {
	*entry.Roads
	mu      sync.Mutex
	nodes   map[string]string // name to what listens there
	direct  map[string]string
	records []stream.Record
}

func newTown() *town {
	w := &town{nodes: map[string]string{}, direct: map[string]string{}}
	note := func(r stream.Record) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.records = append(w.records, r)
	}
	w.Roads = &entry.Roads{
		Resolve: func(q entry.Wish) ([]entry.Way, error) {
			way := entry.Way{Target: stream.Target{Node: q.Host, Port: q.Port}}
			if at := w.direct[q.Host]; at != "" {
				way.Direct = netip.MustParseAddrPort(at)
			} else if w.nodes[q.Host] == "" {
				return nil, fmt.Errorf("nobody is called %s", q.Host)
			}
			return []entry.Way{way}, nil
		},
		Allow:       stream.Allow{Ports: []uint16{10250, 9100}}.Check,
		AllowDirect: func(netip.Addr) error { return nil },
		Here: func(ctx context.Context, c stream.Call) (stream.Conn, error) {
			return tcp(ctx, w.nodes[c.Target.Node])
		},
		There: func(context.Context, stream.Call) (stream.Conn, error) {
			return nil, &stream.Refusal{Code: stream.CodeNoSession}
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (stream.Conn, error) { return tcp(ctx, to.String()) },
		Done: note, Direct: note, Now: time.Now,
	}
	return w
}

func tcp(ctx context.Context, to string) (stream.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, &stream.Refusal{Code: stream.CodeDialFailed, Text: err.Error()}
	}
	return c.(*net.TCPConn), nil
}

// codes are those of everything reported so far, by caller's first word.
func (w *town) codes() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records {
		word, _, _ := strings.Cut(r.Call.Caller, " ")
		out = append(out, word+" "+string(r.Code))
	}
	return out
}

func (w *town) expect(t *testing.T, want ...string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); len(w.codes()) < len(want) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	if diff := cmp.Diff(want, w.codes()); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

// open serves an entry on loopback until the test ends.
func open(t *testing.T, wrap func(net.Listener) net.Listener, serve func(context.Context, net.Listener) error) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, wrap(l)) }()
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the entry does not end")
		}
	})
	return at
}

func bare(l net.Listener) net.Listener { return l }

// kubelet is an HTTPS server at the edge that says what it was asked.
func kubelet(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var names []string
		for _, n := range []string{"Authorization", "Impersonate-User", "X-Remote-User", "X-Forwarded-For", "Cookie"} {
			if v := r.Header.Get(n); v != "" {
				names = append(names, n+"="+v)
			}
		}
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Host, r.URL.RequestURI(), strings.Join(names, " "))
	}))
	t.Cleanup(s.Close)
	return s
}

func at(s *httptest.Server) string { return s.Listener.Addr().String() }

func tlsDial(t *testing.T, to string, c *tls.Config) (*tls.Conn, error) {
	t.Helper()
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: c}).DialContext(t.Context(), "tcp", to)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*tls.Conn), nil
}

func dial(t *testing.T, to string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestSNI: TLS goes through to the kubelet that the name says, whole; every
// other caller learns at once that it goes no further.
func TestSNI(t *testing.T) {
	w, k := newTown(), kubelet(t)
	w.nodes["example.com"] = at(k) // the name in httptest's certificate
	to := open(t, bare, (&entry.SNI{Roads: w.Roads, Port: 10250, Sources: loopback}).Serve)
	trust := x509.NewCertPool()
	trust.AddCert(k.Certificate())
	conn, err := tlsDial(t, to, &tls.Config{RootCAs: trust, ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /pods HTTP/1.1\r\nHost: example.com\r\nAuthorization: Bearer t\r\nConnection: close\r\n\r\n")
	b, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(b), "example.com /pods Authorization=Bearer t") {
		t.Errorf("%q, %v", b, err)
	}
	for _, name := range []string{"shop-z", "", "10.0.0.8"} { // an address is not sent as a name
		if _, err := tlsDial(t, to, &tls.Config{InsecureSkipVerify: true, ServerName: name}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("server name %q: %v", name, err)
		}
	}
	if b, _ := io.ReadAll(write(t, to, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")); len(b) != 7 || b[0] != 21 {
		t.Errorf("plain text is answered with %q, want an alert", b)
	}
	w.expect(t, "sni not-allowed", "sni bad-request", "sni bad-request", "sni bad-request")
}

func write(t *testing.T, to, text string) net.Conn {
	t.Helper()
	c := dial(t, to)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, text)
	return c
}

// TestSNIShare: one address can not use up what a node takes.
func TestSNIShare(t *testing.T) {
	w, k := newTown(), kubelet(t)
	w.nodes["example.com"], w.nodes["shop-b-1"] = at(k), at(k)
	knock := func(share entry.Share, name string) func() error {
		to := open(t, bare, (&entry.SNI{Roads: w.Roads, Port: 10250, Sources: loopback, Share: share}).Serve)
		return func() error {
			_, err := tlsDial(t, to, &tls.Config{InsecureSkipVerify: true, ServerName: name})
			return err
		}
	}
	for _, share := range []entry.Share{{Streams: 3, DialsPerSecond: 1000}, {DialsPerSecond: 3}} {
		w.mu.Lock()
		w.records = nil
		w.mu.Unlock()
		one, refused := knock(share, "example.com"), 0
		for range 10 {
			if one() != nil {
				refused++
			}
		}
		if refused < 5 || len(w.codes()) != refused {
			t.Errorf("%+v: %d of 10 are refused, reported: %v", share, refused, w.codes())
		}
		if err := knock(share, "shop-b-1")(); err != nil {
			t.Errorf("%+v: another node: %v", share, err)
		}
	}
}

// TestSNIFences: a caller from elsewhere is not listened to, and callers that
// do not get to the point cost the others nothing.
func TestSNIFences(t *testing.T) {
	w, k := newTown(), kubelet(t)
	w.nodes["example.com"] = at(k)
	far := open(t, bare, (&entry.SNI{Roads: w.Roads, Port: 10250, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}).Serve)
	if _, err := tlsDial(t, far, &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"}); err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("from a foreign address: %v", err)
	}
	w.expect(t, "sni forbidden")

	slow := open(t, bare, (&entry.SNI{Roads: w.Roads, Port: 10250, Sources: loopback, Hello: time.Second, Hellos: 3}).Serve)
	good, err := tlsDial(t, slow, &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(t, slow, "\x16\x03\x01")
	}
	w.mu.Lock()
	w.records = nil
	w.mu.Unlock()
	for len(w.codes()) == 0 { // until all three are being waited for
		_, _ = io.ReadAll(write(t, slow, ""))
	}
	if got := w.codes()[0]; got != "sni too-many-dials" {
		t.Errorf("one too many: %s", got)
	}
	_, _ = io.WriteString(good, "GET /pods HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(good); err != nil || !strings.Contains(string(b), "200 OK") {
		t.Errorf("whoever is in: %q, %v", b, err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the slow ones are turned out
		if _, err := tlsDial(t, slow, &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"}); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the slow ones keep everybody out")
		}
	}
}
