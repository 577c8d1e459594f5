// SPDX-License-Identifier: Apache-2.0

package entry_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/stream/entry"
)

// TestRoads: which ways are tried, in which order, and that a refusal is
// reported once.
func TestRoads(t *testing.T) {
	tunnel := entry.Way{Target: stream.Target{Node: "shop-a-1", Port: 10250}}
	other := entry.Way{Target: stream.Target{Node: "shop-b-1", Port: 10250}}
	pod := entry.Way{Target: stream.Target{Node: "shop-a-1", Addr: netip.MustParseAddr("10.1.2.3"), Port: 10250}}
	private := entry.Way{Target: stream.Target{Node: "plant-c-1", Port: 10250}, Direct: netip.MustParseAddrPort("172.20.0.5:10250")}
	metadata := entry.Way{Target: stream.Target{Node: "plant-c-1", Port: 10250}, Direct: netip.MustParseAddrPort("169.254.169.254:10250")}
	offList := entry.Way{Target: stream.Target{Node: "shop-a-1", Port: 22}}
	no := func(c stream.Code) error { return &stream.Refusal{Code: c, Text: "no"} }
	for name, c := range map[string]struct {
		wish        entry.Wish
		ways        []entry.Way
		here, there error
		want        []string
		reported    stream.Code
	}{
		"on this gateway":            {ways: []entry.Way{tunnel}, want: []string{"here shop-a-1:10250"}},
		"on another":                 {ways: []entry.Way{tunnel}, here: no(stream.CodeNoSession), want: []string{"here shop-a-1:10250", "there shop-a-1:10250"}},
		"refused here is final":      {ways: []entry.Way{tunnel}, here: no(stream.CodeNotAllowed), want: []string{"here shop-a-1:10250"}, reported: stream.CodeNotAllowed},
		"nowhere":                    {ways: []entry.Way{tunnel}, here: no(stream.CodeNoSession), there: no(stream.CodeNoSession), want: []string{"here shop-a-1:10250", "there shop-a-1:10250"}, reported: stream.CodeNoSession},
		"an endpoint after another":  {ways: []entry.Way{tunnel, other}, here: no(stream.CodeDialFailed), want: []string{"here shop-a-1:10250", "here shop-b-1:10250"}, reported: stream.CodeDialFailed},
		"a private line":             {ways: []entry.Way{private}, want: []string{"dial 172.20.0.5:10250"}},
		"never metadata":             {ways: []entry.Way{metadata}, reported: stream.CodeNotAllowed},
		"never a port off the list":  {ways: []entry.Way{offList}, reported: stream.CodeNotAllowed},
		"nothing resolved":           {reported: stream.CodeNotAllowed},
		"a node, not its pod":        {wish: entry.Wish{Node: true}, ways: []entry.Way{pod}, reported: stream.CodeNotAllowed},
		"a node, not another's name": {wish: entry.Wish{Node: true}, ways: []entry.Way{other}, reported: stream.CodeNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			var did []string
			var reported []stream.Code
			open := func(word string, err error) func(context.Context, stream.Call) (stream.Conn, error) {
				return func(_ context.Context, c stream.Call) (stream.Conn, error) {
					did = append(did, word+" "+c.Target.String())
					if err != nil {
						return nil, err
					}
					return &net.TCPConn{}, nil
				}
			}
			r := &entry.Roads{
				Resolve: func(entry.Wish) ([]entry.Way, error) { return c.ways, nil },
				Allow:   stream.Allow{Ports: []uint16{10250}, Pods: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}.Check,
				AllowDirect: func(a netip.Addr) error {
					return stream.Allow{Pods: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}.Check(stream.Target{Addr: a, Port: 1})
				},
				Here: open("here", c.here), There: open("there", c.there),
				Dial: func(ctx context.Context, to netip.AddrPort) (stream.Conn, error) {
					return open("dial", nil)(ctx, stream.Call{Target: stream.Target{Node: to.Addr().String(), Port: to.Port()}})
				},
				Done: func(r stream.Record) { reported = append(reported, r.Code) }, Now: time.Now,
			}
			w := c.wish
			w.Host, w.Port = "shop-a-1", 10250
			_, err := r.Open(t.Context(), w)
			if diff := cmp.Diff(c.want, did); diff != "" {
				t.Errorf("ways (-want +got):\n%s", diff)
			}
			var want []stream.Code
			if c.reported != "" {
				want = []stream.Code{c.reported}
			}
			if diff := cmp.Diff(want, reported); diff != "" || (err == nil) != (want == nil) {
				t.Errorf("%v, reported (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestRoadsDirect: a direct stream is counted as those of the tunnel are.
func TestRoadsDirect(t *testing.T) {
	w := newTown()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}()
	w.direct["plant-c-1"] = l.Addr().String()
	conn, err := w.Open(t.Context(), entry.Wish{Host: "plant-c-1", Port: 10250, Caller: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "hello")
	_ = conn.CloseWrite()
	b, err := io.ReadAll(conn)
	if string(b) != "hello" || errors.Join(err, conn.Close()) != nil {
		t.Errorf("%q, %v", b, err)
	}
	w.expect(t, "test done")
	if r := w.records[0]; r.Sent != 5 || r.Received != 5 || r.Call.Target.Node != "plant-c-1" {
		t.Errorf("record %+v", r)
	}
	_ = l.Close()
	if _, err := w.Open(t.Context(), entry.Wish{Host: "plant-c-1", Port: 10250, Caller: "test"}); err == nil {
		t.Error("a closed port is open")
	}
	w.expect(t, "test done", "test dial-failed")
}
