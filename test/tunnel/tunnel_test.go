// SPDX-License-Identifier: Apache-2.0

package tunnel_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// TestWhoComesIn follows one node from its first certificate to its removal.
func TestWhoComesIn(t *testing.T) {
	install(t)
	w := startWorld(t)
	makeNode(t, "shop-1")

	// A node comes in and serves its kubelet.
	dir := t.TempDir()
	first := w.agent(t, "shop-1", dir, asPod(t, "magpie-agent", "agent-1"))
	eventually(t, 30*time.Second, func() error { return w.has() })
	if got, err := w.say("shop-1", "hello"); err != nil || got != "hello" {
		t.Fatalf("through the tunnel: %q, %v", got, err)
	}

	// Its certificate is replaced while a stream is open: the stream stays.
	open, err := w.open("shop-1")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	was, err := first.certs.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	first.clock.move(19 * time.Hour) // past the latest moment: two thirds of 24 h and a tenth
	eventually(t, 30*time.Second, func() error {
		if now, err := first.certs.GetCertificate(nil); err != nil || now == was {
			return fmt.Errorf("not renewed yet: %w", errors.Join(err, first.certs.Trouble()))
		}
		return nil
	})
	if got, err := echo(open, "still here"); err != nil || got != "still here" {
		t.Errorf("a stream beside a renewal: %q, %v", got, err)
	}

	// Strangers do not.
	w.turnAway(t)
	if got, err := echo(open, "still here"); err != nil || got != "still here" {
		t.Errorf("a stream beside strangers: %q, %v", got, err)
	}

	// The Node is deleted: its stream ends and its session, at once, though its
	// certificate is good for a day.
	began := time.Now()
	if err := admin(t).CoreV1().Nodes().Delete(t.Context(), "shop-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_ = open.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := open.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stream of a Node that is gone: %v", err)
	}
	took := time.Since(began)
	t.Logf("Node deleted to stream ended: %s", took.Round(time.Millisecond))
	if took > 2*time.Second {
		t.Errorf("a deleted Node keeps its stream for %s", took)
	}
	time.Sleep(time.Second) // the agent dials again all the time
	if err := w.has(); err == nil {
		t.Error("a Node that is gone is let in again")
	}

	// It is made again: the old certificate and the old token are worth nothing.
	makeNode(t, "shop-1")
	time.Sleep(2 * time.Second)
	if err := w.has(); err == nil {
		t.Error("the certificate of a former Node is let in")
	}
	first.stop()
	second := w.agent(t, "shop-1", t.TempDir(), asPod(t, "magpie-agent", "agent-2"))
	eventually(t, 30*time.Second, func() error { return errors.Join(w.has(), second.certs.Trouble()) })
	if got, err := w.say("shop-1", "again"); err != nil || got != "again" {
		t.Errorf("through the tunnel: %q, %v", got, err)
	}
	second.stop()
	w.clocks(t)
}

// clocks lets agents come in whose clocks are wrong by more than certificates
// last, either way: they go by the API server's, and say so.
func (w *world) clocks(t *testing.T) {
	t.Helper()
	for name, off := range map[string]time.Duration{"ahead": 40 * time.Hour, "behind": -40 * time.Hour} {
		eventually(t, 30*time.Second, func() error {
			if w.has() == nil {
				return errors.New("the session before has not ended")
			}
			return nil
		})
		a := w.agentBy(t, &clock{off: off}, "shop-1", t.TempDir(), asPod(t, "magpie-agent", "agent-"+name))
		eventually(t, 30*time.Second, func() error { return errors.Join(w.has(), a.certs.Trouble()) })
		if got, err := w.say("shop-1", name); err != nil || got != name {
			t.Errorf("clock %s: through the tunnel: %q, %v", name, got, err)
		}
		if told := a.certs.ClockOff(); (told - off).Abs() > 5*time.Second {
			t.Errorf("clock %s: it says it is off by %s, and that is %s", name, told, off)
		}
		// By its own clock it would not get in: that is what this is about.
		naive := &wire.Dialler{Certificate: a.certs.GetClientCertificate, Roots: a.certs.Roots, Now: a.clock.now, ServerName: identity.ServerName}
		_, err := naive.Dial(t.Context(), w.agents, "")
		want := map[string]string{"ahead": "ago by the clock here", "behind": "the clock here is at least"}[name]
		if err = identity.Timely(err, a.clock.now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("clock %s, uncorrected: %v", name, err)
		}
		a.stop()
	}
}

// turnAway knocks with certificates that are not good enough, and once, to know
// that it is this that keeps them out, with one that is.
func (w *world) turnAway(t *testing.T) {
	t.Helper()
	node := identity.Grant{Kind: identity.Agent, Name: "shop-1", UID: uid(t, "shop-1")}
	former, other, unknown := node, node, node
	former.UID = "11111111-2222-3333-4444-555555555555"
	other.Name = "shop-2"
	unknown.Kind, unknown.DNS = identity.Gateway, []string{identity.ServerName}
	caller := identity.Grant{Kind: identity.Caller, Name: "kube-apiserver"}
	ours := vault(t)
	strangers, err := identity.NewVault(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"no certificate":              w.knock(t, nil, nil),
		"of another cluster":          w.knockAs(t, strangers, node),
		"of a former Node":            w.knockAs(t, ours, former),
		"of a node that is not there": w.knockAs(t, ours, other),
		"a gateway's":                 w.knockAs(t, ours, unknown),
		"a caller's":                  w.knockAs(t, ours, caller),
	} {
		if err == nil {
			t.Errorf("certificate %s: let in", name)
		}
	}
	if err := w.knockAs(t, ours, node); err != nil {
		t.Errorf("a good certificate is turned away: %v", err)
	}
}

// vault is the authority's, which nobody but the manager can read.
func vault(t *testing.T) identity.Vault {
	t.Helper()
	s, err := admin(t).CoreV1().Secrets(api.TunnelCANamespace).Get(t.Context(), api.TunnelCAName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, ok, err := identity.DecodeVault(s.Data)
	if err != nil || !ok {
		t.Fatalf("the authority: %t, %v", ok, err)
	}
	return v
}

// agent is a node's end of the tunnel.
type agent struct {
	certs *cluster.Certificates
	clock *clock
	stop  func()
}

// agent starts the end of a node: it dials again whenever it is cut off.
func (w *world) agent(t *testing.T, node, dir string, cfg *rest.Config) *agent {
	t.Helper()
	return w.agentBy(t, &clock{}, node, dir, cfg)
}

// agentBy starts one with that clock.
func (w *world) agentBy(t *testing.T, c *clock, node, dir string, cfg *rest.Config) *agent {
	t.Helper()
	a := &agent{clock: c}
	var err error
	a.certs, err = cluster.NewCertificates(c.dates(cfg), cluster.CertificateOptions{
		Kind: identity.Agent, Name: node, Dir: dir, Now: a.clock.now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := stream.NewServer(stream.ServerOptions{
		Name: node, Allow: stream.Allow{Ports: []uint16{10250}}.Check, Now: time.Now,
		Hello: func(net.Conn, stream.Hello) stream.Answer { return stream.Answer{Node: node} },
		Dial: func(ctx context.Context, _ stream.Call) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.kubelet)
		},
	})
	dialler := &wire.Dialler{
		Certificate: a.certs.GetClientCertificate, Roots: a.certs.Roots, Now: a.certs.Now, ServerName: identity.ServerName, Limit: 5 * time.Second,
	}
	a.stop = background(t, a.certs.Run, func(ctx context.Context) error {
		for ctx.Err() == nil {
			if conn, err := dialler.Dial(ctx, w.agents, ""); err == nil {
				_ = server.Serve(ctx, conn)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
		return nil
	})
	return a
}

// open opens a stream to the node's kubelet as the API server would.
func (w *world) open(node string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("unix", w.entry)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := fmt.Fprintf(conn, "CONNECT %[1]s:10250 HTTP/1.1\r\nHost: %[1]s:10250\r\n\r\n", node); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(oneByte{conn}, 1), nil)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(errors.New(resp.Status), conn.Close())
	}
	return conn, conn.SetDeadline(time.Time{})
}

// oneByte reads no further than it is asked to, so that nothing of the stream
// is lost in the buffer of its answer.
type oneByte struct{ io.Reader }

func (r oneByte) Read(b []byte) (int, error) { return r.Reader.Read(b[:min(1, len(b))]) }

func (w *world) say(node, text string) (string, error) {
	conn, err := w.open(node)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return echo(conn, text)
}

func echo(conn net.Conn, text string) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(conn, got)
	return string(got), err
}

// has asks the gateway for the session of shop-1.
func (w *world) has() error {
	text, err := ask("http://" + w.health + "/sessions")
	if err != nil {
		return err
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	if !mentions(all, "shop-1") {
		return fmt.Errorf("no session: %s", text)
	}
	return nil
}

// mentions looks for {"node": NAME} anywhere below.
func mentions(v any, node string) bool {
	switch v := v.(type) {
	case map[string]any:
		if v["node"] == node {
			return true
		}
		for _, below := range v {
			if mentions(below, node) {
				return true
			}
		}
	case []any:
		for _, below := range v {
			if mentions(below, node) {
				return true
			}
		}
	}
	return false
}
