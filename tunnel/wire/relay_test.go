// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/wire"
)

// serveRelay serves until the test ends and returns where.
func serveRelay(t *testing.T, r *wire.Relay) string {
	t.Helper()
	l := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the relay does not end")
		}
	})
	return l.Addr().String()
}

// site is a relay on loopback that counts what became of requests.
type site struct {
	*wire.Relay
	addr string
	mu   sync.Mutex
	seen map[wire.RelayCode]int
}

func newSite(t *testing.T, g *gateway) *site {
	t.Helper()
	s := &site{seen: map[wire.RelayCode]int{}}
	s.Relay = &wire.Relay{
		Neighbour: func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") },
		Published: func(addr string) bool { return addr == g.addr },
		Reach:     g.dialler(t).Reach,
		Most:      4, MostEach: 3,
		Seen: func(_ netip.Addr, _ string, code wire.RelayCode, _ error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.seen[code]++
		},
	}
	s.addr = serveRelay(t, s.Relay)
	return s
}

// expect waits for the first of that code.
func (s *site) expect(t *testing.T, code wire.RelayCode) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		got := s.seen[code]
		s.mu.Unlock()
		if got == 1 {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Fatalf("seen %v, want one of %s", s.seen, code)
}

func TestRelayCarries(t *testing.T) {
	g := newGateway(t, "magpie-gateway")
	s := newSite(t, g)
	c, err := g.dialler(t).Dial(t.Context(), g.addr, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c)
	// The end of one direction reaches the gateway, and the rest comes back.
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("read to the end: %v", err)
	}
	_ = c.Close()
	s.expect(t, wire.RelayDone)
	if n := s.Open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}

func TestRelayRefuses(t *testing.T) {
	g := newGateway(t, "magpie-gateway")
	s := newSite(t, g)
	for request, want := range map[string]string{
		"CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: x\r\n\r\n":                               "403 target",
		"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: " + g.addr + "\r\n\r\n":               "403 target",
		"GET http://" + g.addr + "/ HTTP/1.1\r\nHost: x\r\n\r\n":                            "400 malformed",
		"CONNECT " + g.addr + " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello":      "400 malformed",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n":                              "400 malformed",
		"CONNECT " + g.addr + " HTTP/1.1\r\nA: " + strings.Repeat("a", 20<<10) + "\r\n\r\n": "400 malformed",
	} {
		s.mu.Lock()
		clear(s.seen)
		s.mu.Unlock()
		status := ask(t, s.addr, "127.0.0.1", request)
		code := wire.RelayCode(strings.Fields(want)[1])
		s.expect(t, code)
		if got := fmt.Sprint(status, " ", code); got != want {
			t.Errorf("%.60q: %s, want %s", request, got, want)
		}
	}
	if status := ask(t, s.addr, "127.0.0.2", "CONNECT "+g.addr+" HTTP/1.1\r\nHost: x\r\n\r\n"); status == 200 {
		t.Error("carries for a stranger")
	}
	s.expect(t, wire.RelayStranger)
}

// ask sends a request from a source address and returns the status, 0 if the
// relay says nothing.
func ask(t *testing.T, addr, from, request string) int {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(c, request)
	reply, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer reply.Body.Close()
	return reply.StatusCode
}

// TestRelayIsCapped: a neighbour that takes all it can leaves room for others,
// and what it lets go may be taken again.
func TestRelayIsCapped(t *testing.T) {
	g := newGateway(t, "magpie-gateway")
	s := newSite(t, g)
	var held []net.Conn
	for range 3 {
		c, err := g.dialler(t).Dial(t.Context(), g.addr, s.addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if _, err := g.dialler(t).Dial(t.Context(), g.addr, s.addr); stage(err) != wire.StageRelay {
		t.Errorf("a fourth connection: %v", err)
	}
	s.expect(t, wire.RelayBusy)
	_ = held[0].Close()
	s.expect(t, wire.RelayDone)
	c, err := g.dialler(t).Dial(t.Context(), g.addr, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(held, c) {
		_ = c.Close()
	}
}

// TestRelayWithoutWayOut: the neighbour hears at once that it must look
// elsewhere.
func TestRelayWithoutWayOut(t *testing.T) {
	g := newGateway(t, "magpie-gateway")
	closed := listen(t)
	_ = closed.Close()
	s := newSite(t, &gateway{ca: g.ca, addr: closed.Addr().String()})
	begin := time.Now()
	_, err := g.dialler(t).Dial(t.Context(), closed.Addr().String(), s.addr)
	if stage(err) != wire.StageRelay || time.Since(begin) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
	s.expect(t, wire.RelayUnreached)
}

func FuzzRelayRequest(f *testing.F) {
	f.Add([]byte("CONNECT 203.0.113.11:443 HTTP/1.1\r\nHost: 203.0.113.11:443\r\n\r\n\x16\x03"))
	f.Add([]byte("CONNECT / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add(bytes.Repeat([]byte("CONNECT a:1 "), 5_000))
	f.Fuzz(func(t *testing.T, request []byte) {
		addr, early, err := wire.ReadConnect(bytes.NewReader(request))
		if err == nil && (!bytes.Contains(request, []byte(addr)) || !bytes.Contains(request, early)) {
			t.Errorf("%q became %q and %q", request, addr, early)
		}
	})
}
