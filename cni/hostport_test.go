// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/magpie-edge/magpie/test/sandbox"
)

func mapping(proto string, host, container int, ip string) map[string]any {
	return map[string]any{"portMappings": []map[string]any{
		{"protocol": proto, "hostPort": host, "containerPort": container, "hostIP": ip},
	}}
}

// outside is the namespace behind the node's uplink.
func (n *node) outside() string { return n.away }

func TestKernelHostPort(t *testing.T) {
	n := newNode(t)
	other := n.added(nil)
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, network := range []string{"tcp", "udp"} {
		open := n.added(mapping(network, 8080, 80, ""))
		exact := n.added(mapping(network, 8081, 80, nodes4.Addr().String()))
		local := n.added(mapping(network, 8082, 80, "127.0.0.1"))
		four := n.added(mapping(network, 8083, 80, "0.0.0.0"))
		for _, c := range []struct {
			what   string
			client string
			server *pod
			to     netip.Addr
			port   uint16
			from   netip.Addr // as the pod sees it; zero: any
			closed bool
		}{
			{what: "outside", client: n.outside(), server: open, to: nodes4.Addr(), port: 8080, from: away4},
			{what: "outside v6", client: n.outside(), server: open, to: nodes6.Addr(), port: 8080, from: away6},
			{what: "host", client: n.ns, server: open, to: nodes4.Addr(), port: 8080, from: nodes4.Addr()},
			{what: "host v6", client: n.ns, server: open, to: nodes6.Addr(), port: 8080, from: nodes6.Addr()},
			{what: "host by loopback", client: n.ns, server: open, to: loopback, port: 8080, from: nodes4.Addr()},
			{what: "other pod", client: other.rt.NetNS, server: open, to: nodes4.Addr(), port: 8080, from: other.ip4},
			{what: "other pod v6", client: other.rt.NetNS, server: open, to: nodes6.Addr(), port: 8080, from: other.ip6},
			{what: "itself", client: open.rt.NetNS, server: open, to: nodes4.Addr(), port: 8080, from: nodes4.Addr()},
			{what: "itself v6", client: open.rt.NetNS, server: open, to: nodes6.Addr(), port: 8080, from: nodes6.Addr()},
			{what: "exact", client: n.outside(), server: exact, to: nodes4.Addr(), port: 8081, from: away4},
			{what: "exact, by loopback", client: n.ns, server: exact, to: loopback, port: 8081, closed: true},
			{what: "exact, v6", client: n.outside(), server: exact, to: nodes6.Addr(), port: 8081, closed: true},
			{what: "loopback", client: n.ns, server: local, to: loopback, port: 8082, from: nodes4.Addr()},
			{what: "loopback, from outside", client: n.outside(), server: local, to: nodes4.Addr(), port: 8082, closed: true},
			{what: "0.0.0.0", client: n.outside(), server: four, to: nodes4.Addr(), port: 8083, from: away4},
			{what: "0.0.0.0, v6", client: n.outside(), server: four, to: nodes6.Addr(), port: 8083, closed: true},
		} {
			t.Run(network+"/"+c.what, func(t *testing.T) {
				got := exchange(t, c.client, c.server.rt.NetNS, network, netip.AddrPortFrom(c.to, c.port), 80)
				switch {
				case c.closed && got.err == nil:
					t.Errorf("reached it, seen as %s", got.from)
				case !c.closed && got.err != nil:
					t.Error(got.err)
				case !c.closed && c.from.IsValid() && got.from != c.from:
					t.Errorf("the pod saw %s, want %s", got.from, c.from)
				}
			})
		}
		for _, p := range []*pod{open, exact, local, four} {
			if err := p.del(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKernelLoopbackGuard: a pod with a hostPort must not reach what the host
// offers on its loopback address only, although route_localnet is on: neither a
// process of the host nor a hostPort of another pod.
func TestKernelLoopbackGuard(t *testing.T) {
	n := newNode(t)
	for _, network := range []string{"tcp", "udp"} {
		p := n.added(mapping(network, 8080, 80, ""))
		other := n.added(mapping(network, 8081, 81, "127.0.0.9"))
		space := name(p.rt.NetNS)
		run(t, "ip", "-n", space, "route", "add", "127.0.0.9", "via", "169.254.1.1", "dev", "eth0", "onlink")
		run(t, "ip", "netns", "exec", space, "sysctl", "-qw", "net/ipv4/conf/eth0/route_localnet=1")
		if got := echo(t, p.rt.NetNS, n.ns, network, netip.MustParseAddrPort("127.0.0.9:99")); got.err == nil {
			t.Errorf("%s: a pod reached a loopback service of the host, seen as %s", network, got.from)
		}
		hostPort := netip.MustParseAddrPort("127.0.0.9:8081")
		if got := exchange(t, p.rt.NetNS, other.rt.NetNS, network, hostPort, 81); got.err == nil {
			t.Errorf("%s: a pod reached a hostPort of the loopback address, seen as %s", network, got.from)
		}
		if got := exchange(t, n.ns, other.rt.NetNS, network, hostPort, 81); got.err != nil {
			t.Errorf("%s: the host does not reach that hostPort: %v", network, got.err)
		}
		for _, p := range []*pod{p, other} {
			if err := p.del(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKernelPortMovesWithItsPod: a UDP client that never stops sending must
// reach the new owner of a hostPort at once. Without a flush conntrack would
// go on sending to the old one.
func TestKernelPortMovesWithItsPod(t *testing.T) {
	n := newNode(t)
	a := n.added(mapping("udp", 5353, 53, ""))
	serve := func(p *pod) {
		t.Helper()
		s, err := listen(t, p.rt.NetNS, "udp", netip.AddrPortFrom(netip.IPv6Unspecified(), 53))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
	}
	serve(a)
	client, err := sandbox.At(n.outside(), func() (net.Conn, error) { return net.Dial("udp", "192.168.1.11:5353") }) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func() error {
		_ = client.SetDeadline(time.Now().Add(500 * time.Millisecond))
		_, werr := client.Write([]byte("?"))
		_, rerr := client.Read(make([]byte, 64))
		return errors.Join(werr, rerr)
	}
	if err := ask(); err != nil {
		t.Fatalf("first pod: %v", err)
	}
	b := n.sandbox("1.1.0", mapping("udp", 5353, 53, ""))
	if _, err := b.add(); isCode(err, types.ErrTryAgainLater) != nil {
		t.Errorf("while the first pod lives: %v, want code 11", err)
	}
	if err := a.del(); err != nil {
		t.Fatal(err)
	}
	if ask() == nil {
		t.Error("somebody answers although the pod is gone")
	}
	b.mustAdd()
	serve(b)
	if err := ask(); err != nil {
		t.Errorf("second pod: %v", err)
	}
}

// TestKernelSCTP sends the first packet of an association by hand, because
// this kernel may have no SCTP sockets, and looks at what arrives in the pod.
func TestKernelSCTP(t *testing.T) {
	n := newNode(t)
	p := n.added(mapping("sctp", 9000, 90, ""))
	server, err := sandbox.At(p.rt.NetNS, func() (net.PacketConn, error) { return net.ListenPacket("ip4:132", "0.0.0.0") }) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := sandbox.At(n.outside(), func() (net.Conn, error) { return net.Dial("ip4:132", nodes4.Addr().String()) }) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write(sctpInit(40000, 9000)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 128)
	_ = server.SetDeadline(time.Now().Add(patience))
	size, _, err := server.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := sctpCheck(b[:size], 90); err != nil {
		t.Error(err)
	}
}

//nolint:gochecknoglobals // a constant
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sctpInit is an INIT packet. Source: RFC 9260 sections 3.1 and 3.3.2.
func sctpInit(from, to uint16) []byte {
	b := make([]byte, 12, 32)
	binary.BigEndian.PutUint16(b[0:], from)
	binary.BigEndian.PutUint16(b[2:], to)
	b = append(b, 1, 0, 0, 20) // INIT, no flags, 20 bytes
	b = binary.BigEndian.AppendUint32(b, 0x1234)
	b = binary.BigEndian.AppendUint32(b, 65536)
	b = append(b, 0, 1, 0, 1)
	b = binary.BigEndian.AppendUint32(b, 1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

func sctpCheck(b []byte, port uint16) error {
	if got := binary.BigEndian.Uint16(b[2:]); got != port {
		return fmt.Errorf("destination port %d, want %d", got, port)
	}
	sum := binary.LittleEndian.Uint32(b[8:])
	clear(b[8:12])
	if want := crc32.Checksum(b, castagnoli); sum != want {
		return fmt.Errorf("checksum %#x, want %#x", sum, want)
	}
	return nil
}

// TestKernelMasquerade: who sees which address of a pod.
func TestKernelMasquerade(t *testing.T) {
	n := newNode(t)
	a, b := n.added(nil), n.added(nil)
	run(t, "ip", "-n", name(n.outside()), "addr", "add", "172.16.0.9/32", "dev", "lo")
	run(t, "ip", "-n", name(n.outside()), "addr", "add", "192.168.1.12/24", "dev", "eth0")
	run(t, "ip", "-n", name(n.outside()), "route", "add", "10.42.3.0/24", "via", "192.168.1.11")
	n.mu.Lock()
	n.view.Settings.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")}
	n.view.Domains[0].Nodes = append(n.view.Domains[0].Nodes, n.view.Domains[0].Nodes[0])
	n.view.Domains[0].Nodes[1].Name, n.view.Domains[0].Nodes[1].Addr4 = "a-2", netip.MustParseAddr("192.168.1.12")
	n.mu.Unlock()
	run(t, "ip", "-n", name(n.ns), "route", "add", "172.16.0.0/12", "via", away4.String())
	n.repair()
	n.repair()
	for _, c := range []struct {
		what, server string
		to           netip.Addr
		want         netip.Addr
	}{
		{"pod", b.rt.NetNS, b.ip4, a.ip4},
		{"pod v6", b.rt.NetNS, b.ip6, a.ip6},
		{"own node", n.ns, nodes4.Addr(), a.ip4},
		{"node of the domain", n.outside(), netip.MustParseAddr("192.168.1.12"), a.ip4},
		{"non-masquerade", n.outside(), netip.MustParseAddr("172.16.0.9"), a.ip4},
		{"outside", n.outside(), away4, nodes4.Addr()},
		{"outside v6", n.outside(), away6, nodes6.Addr()},
	} {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(c.what+"/"+network, func(t *testing.T) {
				got := echo(t, a.rt.NetNS, c.server, network, netip.AddrPortFrom(c.to, 7777))
				if got.err != nil || got.from != c.want {
					t.Errorf("seen as %s (%v), want %s", got.from, got.err, c.want)
				}
			})
		}
	}
}

// TestKernelForwardDrop: Docker and others set FORWARD to DROP.
func TestKernelForwardDrop(t *testing.T) {
	n := newNode(t)
	a, b := n.added(nil), n.added(nil)
	for _, tool := range []string{"iptables", "ip6tables"} {
		run(t, "ip", "netns", "exec", name(n.ns), tool, "-P", "FORWARD", "DROP")
	}
	n.repair()
	for what, c := range map[string]struct {
		server string
		to     netip.Addr
	}{"pod": {b.rt.NetNS, b.ip4}, "pod v6": {b.rt.NetNS, b.ip6}, "outside": {n.outside(), away4}, "outside v6": {n.outside(), away6}} {
		if got := echo(t, a.rt.NetNS, c.server, "tcp", netip.AddrPortFrom(c.to, 7777)); got.err != nil {
			t.Errorf("%s: %v", what, got.err)
		}
	}
}
