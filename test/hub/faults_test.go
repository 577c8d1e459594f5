// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/hub"
)

// fault answers a request in place of the API server, or as it does but worse.
type fault interface {
	answer(*http.Request, http.RoundTripper) (*http.Response, error)
}

// line is the way to the API server, on which everything can happen.
type line struct {
	mu    sync.Mutex
	fault fault // nil: none
	asked int   // how often with a fault
	conns []net.Conn
}

// config returns a client's configuration over this line.
func (l *line) config() *rest.Config {
	cfg := rest.CopyConfig(server.Config)
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, conn)
		return conn, err
	}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return faulty{l, next} })
	return cfg
}

// have lets a fault begin, with the connections there are cut; nil ends it.
func (l *line) have(f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault, l.asked = f, 0
	if f == nil {
		return
	}
	for _, c := range l.conns {
		if c != nil {
			_ = c.Close()
		}
	}
	l.conns = nil
}

type faulty struct {
	line *line
	next http.RoundTripper
}

func (f faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	f.line.mu.Lock()
	fault := f.line.fault
	if fault != nil {
		f.line.asked++
	}
	f.line.mu.Unlock()
	if fault != nil {
		return fault.answer(r, f.next)
	}
	return f.next.RoundTrip(r)
}

// says answers everything with one text.
type says struct {
	code       int
	kind, body string
}

func (s says) answer(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
	return &http.Response{
		StatusCode: s.code, Status: http.StatusText(s.code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {s.kind}}, Body: io.NopCloser(strings.NewReader(s.body)), ContentLength: int64(len(s.body)),
	}, nil
}

// refusal is a Status of the API.
func refusal(code int, reason string) says {
	text := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"on purpose"}`, reason, code)
	return says{code, "application/json", text}
}

// refuses is a port where nobody listens.
type refuses struct{}

func (refuses) answer(*http.Request, http.RoundTripper) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

// half lets the true answer through and breaks off in it.
type half struct{}

func (half) answer(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	answer, err := next.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(answer.Body, 300), broken{}), answer.Body}
		answer.ContentLength = -1
	}
	return answer, err
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestFaults: whatever the API server or something in its place answers, what
// is known stays, nobody is told otherwise, and afterwards it goes on.
func TestFaults(t *testing.T) {
	ns := shop(t)
	for i, c := range []struct {
		name   string
		fault  fault
		online string // "no": who answers is no API server, if anybody does; "": now yes, now no
	}{
		{"refused", refuses{}, "no"},
		{"too many", refusal(429, "TooManyRequests"), "yes"},
		{"internal error", refusal(500, "InternalError"), "yes"},
		{"unavailable", refusal(503, "ServiceUnavailable"), "no"},
		{"forbidden", refusal(403, "Forbidden"), "yes"},
		{"half a message", half{}, ""},
		{"no message", says{200, "application/json", ""}, "no"},
		{"an empty list of nobody's", says{200, "application/json", `{"items":[]}`}, "no"},
		{"a hotel's page", says{200, "text/html", "<html>pay here</html>"}, "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var l line
			s, _ := start(t, l.config(), "")
			ready(t, s, hub.Services, hub.EndpointSlices)
			_, _, services, err := s.Follow(hub.Services)
			if err != nil {
				t.Fatal(err)
			}
			defer services.Close()
			_, _, slices, err := s.Follow(hub.EndpointSlices)
			if err != nil {
				t.Fatal(err)
			}
			defer slices.Close()
			l.have(c.fault)
			name := fmt.Sprintf("late-%d", i)
			addService(t, ns, name)
			eventually(t, func() error {
				l.mu.Lock()
				defer l.mu.Unlock()
				if online := map[bool]string{true: "yes", false: "no"}[s.Online()]; l.asked < 4 || c.online != "" && c.online != online {
					return fmt.Errorf("asked %d times, online: %s", l.asked, online)
				}
				return nil
			})
			if _, err := find(s, hub.Services, ns, "till"); err != nil {
				t.Error(err)
			}
			if _, err := find(s, hub.EndpointSlices, ns, "till-1"); err != nil {
				t.Error(err)
			}
			l.have(nil)
			eventually(t, func() error {
				_, err := find(s, hub.Services, ns, name)
				return err
			})
			for found := false; !found; { // the others have Services, too
				events, err := services.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range events {
					found = found || e.Item.Object.GetName() == name
					if e.Type != hub.Added || !strings.HasPrefix(e.Item.Object.GetName(), "late-") {
						t.Errorf("event %s %s", e.Type, e.Item.Object.GetName())
					}
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if events, err := slices.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("events %v, %v", events, err)
			}
			if !s.Online() {
				t.Error("offline, though the line is good")
			}
		})
	}
}

// TestRestartAlone: a store that starts while the API server does not answer
// has what the last one had, and what has changed when it answers again.
func TestRestartAlone(t *testing.T) {
	ns := shop(t)
	pin(t, ns, "till", "kubernetes.io/hostname")
	dir := t.TempDir()
	s, stop := start(t, server.Config, dir)
	ready(t, s, hub.Services, hub.EndpointSlices)
	stop()
	addService(t, ns, "meanwhile")
	var l line
	l.have(refuses{})
	s, _ = start(t, l.config(), dir)
	ready(t, s, hub.Services, hub.EndpointSlices)
	if s.Online() || !s.Stats()[0].Stale {
		t.Error("who has answered?")
	}
	if _, err := find(s, hub.EndpointSlices, ns, "till-1"); err != nil {
		t.Error(err)
	}
	_, _, w, err := s.Follow(hub.Services)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l.have(nil)
	events, err := w.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Item.Object.GetName() != "meanwhile" {
		t.Errorf("events %v, %v", events, err)
	}
}
