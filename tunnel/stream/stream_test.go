// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// TestStream carries bytes both ways and closes one direction before the other.
func TestStream(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.open(t)
	if got := say(t, c, "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("after half-close: %q, %v", b, err)
	}
	want := stream.Record{Call: kubelet, Sent: 5, Received: 5, Code: stream.CodeDone}
	ignore := cmpopts.IgnoreFields(stream.Record{}, "Opened", "Took", "Stalled")
	for _, end := range []string{"gateway", "agent"} {
		if d := cmp.Diff(want, w.last(t, end, 1), ignore, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("record of the %s (-want +got):\n%s", end, d)
		}
	}
}

// TestBulk sends 64 MiB through the echo and compares.
func TestBulk(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.open(t)
	sent := make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	go func() {
		_, _ = io.Copy(c, bytes.NewReader(sent))
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(got) != sha256.Sum256(sent) {
		t.Errorf("%d bytes came back of %d, or others", len(got), len(sent))
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t, settings{agent: func(o *stream.ServerOptions) {
		o.Allow = stream.Allow{Ports: []uint16{10250}}.Check
	}})
	for _, c := range []struct {
		name string
		call stream.Call
		want stream.Code
	}{
		{"a node that nobody knows", stream.Call{Target: stream.Target{Node: "other", Port: 10250}}, stream.CodeNoSession},
		{"a port off the gateway's list", stream.Call{Target: stream.Target{Node: name, Port: 22}}, stream.CodeNotAllowed},
		{"a port off the agent's list", stream.Call{Target: stream.Target{Node: name, Port: 9100}}, stream.CodeNotAllowed},
		{"metadata", stream.Call{Target: stream.Target{Node: name, Addr: netip.MustParseAddr("169.254.169.254"), Port: 80}}, stream.CodeNotAllowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := w.refused(t, c.call); got != c.want {
				t.Errorf("refused as %s, want %s", got, c.want)
			}
		})
	}
	_ = w.service.Close()
	if got := w.refused(t, kubelet); got != stream.CodeDialFailed {
		t.Errorf("nobody listens: refused as %s", got)
	}
}

// TestLost ends streams at once when their connection breaks, with the reason.
func TestLost(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.open(t)
	say(t, c, "x")
	w.cut()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Read(make([]byte, 1))
	var late net.Error
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("timeout")) {
		t.Fatalf("read after the loss: %v (%v)", err, late)
	}
	t.Log(err)
	if r := w.last(t, "gateway", 1); r.Code != stream.CodeReset || r.Err == nil {
		t.Errorf("record: %+v", r)
	}
}
