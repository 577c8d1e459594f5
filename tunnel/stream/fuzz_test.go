// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestParseTarget(t *testing.T) {
	for _, c := range []struct {
		authority, node string
		want            string // "" is refused
	}{
		{"shop-a-1:10250", "shop-a-1", "shop-a-1:10250"},
		{"10.1.2.3:8443", "shop-a-1", "10.1.2.3:8443@shop-a-1"},
		{"[fd00::1]:8443", "shop-a-1", "[fd00::1]:8443@shop-a-1"},
		{"[::ffff:10.1.2.3]:80", "shop-a-1", "10.1.2.3:80@shop-a-1"},
		{"other:10250", "shop-a-1", ""},
		{"localhost:10250", "shop-a-1", ""},
		{"shop-a-1:0", "shop-a-1", ""},
		{"shop-a-1:65536", "shop-a-1", ""},
		{"shop-a-1:+80", "shop-a-1", ""},
		{"shop-a-1:0080", "shop-a-1", ""},
		{"shop-a-1:http", "shop-a-1", ""},
		{"shop-a-1", "shop-a-1", ""},
		{"[fe80::1%eth0]:80", "shop-a-1", ""},
		{"Shop:80", "Shop", ""},
		{"-a:80", "-a", ""},
		{":80", "", ""},
	} {
		got, err := stream.ParseTarget(c.authority, c.node)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("%s of %s: %v, %v; want %q", c.authority, c.node, got, err, c.want)
		}
	}
}

// FuzzTarget: what parses is written again as what means the same; the rest is a
// *Refusal.
func FuzzTarget(f *testing.F) {
	f.Add("shop-a-1:10250", "shop-a-1")
	f.Add("[fd00::1]:8443", "shop-a-1")
	f.Add("169.254.169.254:80", "a.b-c")
	f.Fuzz(func(t *testing.T, authority, node string) {
		target, err := stream.ParseTarget(authority, node)
		if err != nil {
			if r, ok := errors.AsType[*stream.Refusal](err); !ok || r.Code != stream.CodeBadRequest {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		call := stream.Call{Target: target, Caller: stream.Printable(authority)}
		again, err := stream.ParseRequest(stream.Request(call))
		if d := cmp.Diff(call, again, sameAddr); err != nil || d != "" {
			t.Errorf("%v does not come back: %v\n%s", call, err, d)
		}
		everything := stream.Allow{Pods: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
		if a := target.Addr; a.IsValid() && (a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()) && everything.Check(target) == nil {
			t.Errorf("%s is allowed", target)
		}
	})
}

// FuzzHeaders reads any names and values as a request and as an answer.
func FuzzHeaders(f *testing.F) {
	f.Add(":method\nCONNECT\n:authority\nshop:1\nmagpie-node\nshop\nmagpie-caller\nx")
	f.Add(":status\n403\nmagpie-code\nnot-allowed\nmagpie-text\nno \x1b[31m")
	f.Fuzz(func(t *testing.T, text string) {
		pairs := strings.Split(text, "\n")
		h := h2.Fields(pairs[:len(pairs)/2*2]...)
		if c, err := stream.ParseRequest(h); err == nil && (c.Target.Node == "" || c.Target.Port == 0) {
			t.Errorf("%q: %v", h, c)
		}
		err := stream.ParseAnswer(h)
		if r, ok := errors.AsType[*stream.Refusal](err); err != nil && (!ok || strings.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' || c > '~' })) {
			t.Errorf("%q: %q", h, err)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add([]byte(`{"instance":"a","instances":["a","b"],"version":"1"}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = stream.ParseHello(b, new(stream.Hello))
		_ = stream.ParseHello(b, new(stream.Answer))
	})
}

func TestAllow(t *testing.T) {
	a := stream.Allow{
		Ports: []uint16{10250},
		Pods:  []netip.Prefix{netip.MustParsePrefix("10.42.7.0/24"), netip.MustParsePrefix("fd00:42::/64"), netip.MustParsePrefix("169.254.0.0/16")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("10.42.7.1/32")},
	}
	for _, c := range []struct {
		addr string
		port uint16
		want bool
	}{
		{"", 10250, true},
		{"", 22, false},
		{"", 0, false},
		{"10.42.7.9", 9999, true},
		{"10.42.7.9", 0, false},
		{"::ffff:10.42.7.9", 80, true},
		{"::ffff:127.0.0.1", 80, false},
		{"10.42.8.9", 80, false},
		{"10.42.7.1", 80, false},
		{"::ffff:10.42.7.1", 80, false},
		{"fd00:42::1", 80, true},
		{"fd00:42::1%eth0", 80, true},
		{"127.0.0.1", 10250, false},
		{"::1", 10250, false},
		{"169.254.169.254", 80, false},
		{"100.100.100.200", 80, false},
		{"0.0.0.0", 80, false},
		{"255.255.255.255", 80, false},
	} {
		target := stream.Target{Node: name, Port: c.port}
		if c.addr != "" {
			target.Addr = netip.MustParseAddr(c.addr)
		}
		if err := a.Check(target); (err == nil) != c.want {
			t.Errorf("%s: %v", target, err)
		}
	}
	if (stream.Allow{}).Check(stream.Target{Node: name, Port: 10250}) == nil {
		t.Error("the zero value allows something")
	}
}
