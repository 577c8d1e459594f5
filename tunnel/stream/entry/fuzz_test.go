// SPDX-License-Identifier: Apache-2.0

package entry_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream/entry"
)

func TestParseAuthority(t *testing.T) {
	for in, want := range map[string]string{
		"shop-a-1:10250":                   "shop-a-1:10250",
		"Shop-A-1.:10250":                  "shop-a-1:10250",
		"cn-hangzhou.192.168.0.10:10250":   "cn-hangzhou.192.168.0.10:10250",
		"web.shop.svc:443":                 "web.shop.svc:443",
		"10.0.0.8:8443":                    "10.0.0.8:8443",
		"[::ffff:127.0.0.1]:80":            "127.0.0.1:80", // one address, one name: no way around a list
		"[2001:DB8::1]:80":                 "[2001:db8::1]:80",
		"":                                 "",
		":80":                              "",
		"a":                                "",
		"a:":                               "",
		"a:0":                              "",
		"a:65536":                          "",
		"a:+80":                            "",
		"a:080":                            "",
		"a:80:80":                          "",
		"a:http":                           "",
		"::1:80":                           "",
		"[a]:80":                           "",
		"[10.0.0.1]:80":                    "",
		"[fe80::1%eth0]:80":                "",
		"fe80::1%eth0:80":                  "",
		"0x7f.1:80":                        "",
		"0177.0.0.1:80":                    "",
		"2130706433:80":                    "",
		"127.1:80":                         "",
		"user@host:80":                     "",
		"host/path:80":                     "",
		"host\r\nX: y:80":                  "",
		"host\x00:80":                      "",
		"hóst:80":                          "",
		"-a:80":                            "",
		"a-:80":                            "",
		"a..b:80":                          "",
		strings.Repeat("a", 64) + ":80":    "",
		strings.Repeat("a.", 200) + "a:80": "",
	} {
		host, port, err := entry.ParseAuthority(in)
		got := ""
		if err == nil {
			got = net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", in, got, err, want)
		}
	}
}

// FuzzAuthority: what is accepted reads the same a second time, and is either
// an address in its one form or a name that no resolver takes for one.
func FuzzAuthority(f *testing.F) {
	for _, s := range []string{"a:1", "[::1]:1", "10.0.0.1:65535", "A.b.:10250", "0x7f.1:1", "[::ffff:1.2.3.4]:5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host, port, err := entry.ParseAuthority(in)
		if err != nil {
			return
		}
		again, samePort, err := entry.ParseAuthority(net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil || again != host || samePort != port {
			t.Errorf("%q: %q %d, then %q %d, %v", in, host, port, again, samePort, err)
		}
		if a, err := netip.ParseAddr(host); err == nil {
			if a.Is4In6() || a.Zone() != "" || a.String() != host {
				t.Errorf("%q: %q is another form of an address", in, host)
			}
		} else if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Errorf("%q: %q", in, host)
		}
	})
}

// hello is what a client sends first.
func hello(name string) []byte {
	near, far := net.Pipe()
	go func() {
		_ = tls.Client(near, &tls.Config{
			ServerName: name, InsecureSkipVerify: true,
			CurvePreferences: []tls.CurveID{tls.X25519}, // short, which a fuzzer likes
		}).Handshake() //nolint:noctx // it ends when the pipe does
	}()
	_ = far.SetDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 64<<10)
	n, _ := far.Read(b)
	for want := 5 + int(b[3])<<8 + int(b[4]); n < want; {
		m, err := far.Read(b[n:])
		if err != nil {
			break
		}
		n += m
	}
	_, _ = near.Close(), far.Close()
	return b[:n]
}

// FuzzHello: nothing a stranger sends is lost, invented or read without end.
func FuzzHello(f *testing.F) {
	good := hello("shop-a-1")
	f.Add(good)
	f.Add(good[:40])
	f.Add(append(bytes.Clone(good), "and what follows"...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		name, read, err := entry.PeekHello(bytes.NewReader(in))
		if !bytes.HasPrefix(in, read) || len(read) > entry.MaxHello {
			t.Errorf("read %d bytes that are not the first of %d", len(read), len(in))
		}
		if err != nil && name != "" {
			t.Errorf("name %q and %v", name, err)
		}
		_, _ = entry.ParseName(name)
	})
}

// TestHello: the hello may come in any pieces; an endless one is given up.
func TestHello(t *testing.T) {
	for _, pieces := range []int{1, 7, 100000} {
		said := hello("Shop-A-1")
		name, read, err := entry.PeekHello(&chopped{b: said, n: pieces})
		if name != "Shop-A-1" || err != nil || !bytes.Equal(read, said) {
			t.Errorf("in pieces of %d: %q, %v", pieces, name, err)
		}
	}
	endless := io.MultiReader(bytes.NewReader([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}), zeros{})
	if name, read, err := entry.PeekHello(endless); err == nil || len(read) > entry.MaxHello {
		t.Errorf("endless: %q after %d bytes, %v", name, len(read), err)
	}
}

type chopped struct {
	b []byte
	n int
}

func (c *chopped) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(c.n, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// FuzzRequest feeds whole requests to both readers of HTTP: what they accept
// names a node and a port, whatever else stands around it.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET /metrics?nodeName=a HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer x\r\n\r\n",
		"GET /nodes/a:9100/metrics HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET http://a:9100/metrics HTTP/1.1\r\nHost: b\r\nImpersonate-User: root\r\n\r\n",
		"GET /nodes/a/%2e%2e/exec HTTP/1.1\r\nHost: b\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			return
		}
		if w, err := (&entry.Connect{}).Want(r); err == nil {
			if _, _, err := entry.ParseAuthority(w.String()); err != nil {
				t.Errorf("%q: %v", in, err)
			}
		}
		node, port, path, _, err := (&entry.HTTP{Kubelet: 10250}).Question(r)
		if err != nil || r.Method == http.MethodConnect {
			return
		}
		if _, err := entry.ParseName(node); err != nil || port == 0 {
			t.Errorf("%q: node %q port %d", in, node, port)
		}
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "/../") {
			t.Errorf("%q: path %q", in, path)
		}
	})
}
