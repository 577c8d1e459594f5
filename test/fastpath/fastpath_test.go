// SPDX-License-Identifier: Apache-2.0

package fastpath_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestCarries: established connections take the fast path at both nodes and
// within one, in both families and by TCP and UDP; and what opens, ends or is
// not yet answered does not.
func TestCarries(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.pods["a"], w.pods["b"], w.pods["c"]
	for _, to := range []*pod{b, c} {
		for _, addr := range []netip.Addr{to.v4, to.v6} {
			sandbox.Echo(t, to.ns, echoAt(addr))
			for _, network := range []string{"tcp", "udp"} {
				t.Run(to.name+"/"+network+"/"+addr.String(), func(t *testing.T) {
					conn := w.dial("a", network, echoAt(addr))
					if network == "udp" {
						before := a.node.packets() + to.node.packets()
						w.echo(conn, 100)
						if n := a.node.packets() + to.node.packets() - before; n > 0 {
							t.Errorf("%d packets before conntrack was assured", n)
						}
						w.warm(conn)
					}
					w.echo(conn, 1000)
					before, far := a.node.packets(), to.node.packets()
					for range 100 {
						w.echo(conn, 1000)
					}
					if n, m := a.node.packets()-before, to.node.packets()-far; n < 190 || m < 190 {
						t.Errorf("200 packets to and fro: %d and %d of them by the fast path", n, m)
					}
					if network == "tcp" {
						w.echo(conn, 20<<20)
					}
				})
			}
		}
	}
	if n, m := w.invalid("one"), w.invalid("two"); n+m > 0 {
		t.Errorf("conntrack called %d and %d packets invalid", n, m)
	}
}

// TestEnds: after megabytes that conntrack did not see it follows the end of a
// connection, by FIN and by RST, and calls nothing invalid. Without the two
// settings it would.
func TestEnds(t *testing.T) {
	w := newWorld(t)
	c := w.pods["c"]
	sandbox.Echo(t, c.ns, echoAt(c.v4))
	end := func(linger int) string {
		conn, _ := w.dial("a", "tcp", echoAt(c.v4)).(*net.TCPConn)
		w.echo(conn, 30<<20)
		if err := errors.Join(conn.SetLinger(linger), conn.Close()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
		return sandbox.Run(t, "ip netns exec two conntrack -L -p tcp --orig-port-src "+port)
	}
	if state := end(-1); !strings.Contains(state, "TIME_WAIT") {
		t.Errorf("after FIN:\n%s", state)
	}
	// An RST that is not exactly where conntrack expects it leaves the state and
	// shortens the life of the entry to ten seconds.
	var left int
	state := end(0)
	if _, rest, found := strings.Cut(state, "tcp      6 "); found {
		left, _ = strconv.Atoi(strings.Fields(rest)[0])
	}
	if left > 10 {
		t.Errorf("after RST:\n%s", state)
	}
	if n, m := w.invalid("one"), w.invalid("two"); n+m > 0 {
		t.Errorf("conntrack called %d and %d packets invalid", n, m)
	}
	for _, node := range []string{"one", "two"} {
		sandbox.Run(t, "ip netns exec "+node+" sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0")
	}
	end(-1)
	if w.invalid("one")+w.invalid("two") == 0 {
		t.Error("without nf_conntrack_tcp_be_liberal nothing is invalid: this test shows nothing")
	}
}

// TestTranslated: a Service as kube-proxy makes it, a hostPort and masquerade
// work as ever, and none of their packets is on the fast path where it is
// translated.
func TestTranslated(t *testing.T) {
	w := newWorld(t)
	a, c := w.pods["a"], w.pods["c"]
	c.is.Ports = []cni.Port{{Proto: "tcp", HostPort: 8080, Port: 7}}
	w.apply()
	sandbox.Echo(t, c.ns, echoAt(c.v4))
	sandbox.Echo(t, w.path("stranger"), "192.168.50.3:7")
	sandbox.Run(t, `
		ip netns exec one nft add chain inet kube services { type nat hook prerouting priority -100 ; }
		ip netns exec one nft add rule inet kube services ip daddr 10.96.0.10 tcp dport 80 dnat ip to 10.42.2.5:7
		ip netns exec one nft add rule inet kube services ip daddr 10.96.0.10 udp dport 80 dnat ip to 10.42.2.5:7`)
	for _, network := range []string{"tcp", "udp"} {
		conn := w.dial("a", network, "10.96.0.10:80")
		if network == "udp" {
			w.warm(conn)
		}
		w.echo(conn, 1000)
		near, far := a.node.packets(), c.node.packets()
		for range 50 {
			w.echo(conn, 1000)
		}
		if n := a.node.packets() - near; n > 0 {
			t.Errorf("%s: %d packets of a Service went past its translation", network, n)
		}
		if n := c.node.packets() - far; n < 90 {
			t.Errorf("%s: %d packets by the fast path at the far node, which translates none", network, n)
		}
	}
	near := c.node.packets()
	w.echo(w.dial("stranger", "tcp", "192.168.50.2:8080"), 1<<20)
	if n := c.node.packets() - near; n > 0 {
		t.Errorf("%d packets of a hostPort went past its translation", n)
	}
	near = a.node.packets()
	w.echo(w.dial("a", "tcp", "192.168.50.3:7"), 1<<20)
	if n := a.node.packets() - near; n > 0 {
		t.Errorf("%d packets went past masquerade", n)
	}
}

// TestTooBig: what does not fit into the overlay any more is not carried past
// the ICMP that says so.
func TestTooBig(t *testing.T) {
	w := newWorld(t)
	a, c := w.pods["a"], w.pods["c"]
	for _, x := range []struct {
		addr netip.Addr
		dev  string
	}{{c.v4, "mag-vxlan"}, {c.v6, "mag-vxlan6"}} {
		t.Run(x.dev, func(t *testing.T) {
			sandbox.Echo(t, c.ns, echoAt(x.addr))
			stream, conn := w.dial("a", "tcp", echoAt(x.addr)), w.dial("a", "udp", echoAt(x.addr))
			w.warm(conn)
			w.echo(conn, 1300)
			w.echo(stream, 1<<20)
			sandbox.Run(t, "ip -n one link set "+x.dev+" mtu 1280")
			before := a.node.packets()
			if _, err := conn.Write(make([]byte, 1300)); err != nil {
				t.Fatal(err)
			}
			w.learns("a", x.addr)
			if n := a.node.packets() - before; n > 0 {
				t.Errorf("%d packets that do not fit were carried", n)
			}
			w.echo(stream, 4<<20)
			if n := a.node.packets() - before; n < 100 {
				t.Errorf("%d packets by the fast path that fit", n)
			}
		})
	}
}

// TestTooBigBeyond: the pod also learns what fits where it is the next node
// that knows, as where a gateway sends on into a link: the look-up of the fast
// path does not see the MTU of a route.
func TestTooBigBeyond(t *testing.T) {
	w := newWorld(t)
	w.beyond = netip.MustParsePrefix("10.43.0.0/24")
	w.apply()
	sandbox.Run(t, `
		ip -n stranger addr add 10.43.0.7/32 dev lo
		ip -n stranger route add 10.42.0.0/16 via 192.168.50.2
		ip -n two route add 10.43.0.0/24 via 192.168.50.3 mtu 1280
		ip -n one route add 10.43.0.0/24 via 10.42.2.0 dev mag-vxlan onlink mtu 1280`)
	sandbox.Echo(t, w.path("stranger"), "10.43.0.7:7")
	a := w.pods["a"]
	conn := w.dial("a", "udp", "10.43.0.7:7")
	w.warm(conn)
	before := a.node.packets()
	w.echo(conn, 1000)
	if a.node.packets() == before {
		t.Fatal("not by the fast path: this test shows nothing")
	}
	if _, err := conn.Write(make([]byte, 1300)); err != nil {
		t.Fatal(err)
	}
	w.learns("a", netip.MustParseAddr("10.43.0.7"))
	w.echo(w.dial("a", "tcp", "10.43.0.7:7"), 4<<20)
}

// learns waits until a pod knows that 1280 bytes fit.
func (w *world) learns(name string, addr netip.Addr) {
	w.t.Helper()
	var route string
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		if route = sandbox.Run(w.t, "ip -n pod-"+name+" route get "+addr.String()); strings.Contains(route, "mtu 1280") {
			return
		}
	}
	w.t.Errorf("the pod has not learned what fits:\n%s", route)
}

// TestLimit: a pod with a limit has it.
func TestLimit(t *testing.T) {
	w := newWorld(t)
	limited := w.add("limited", "two", 9)
	limited.is.Ingress = cni.Rate{Rate: 16_000_000, Burst: 1_000_000}
	slow := w.add("slow", "one", 9)
	slow.is.Ingress = limited.is.Ingress
	w.apply()
	for _, to := range []*pod{limited, slow} {
		sandbox.Echo(t, to.ns, echoAt(to.v4))
		conn := w.dial("a", "tcp", echoAt(to.v4))
		w.echo(conn, 1000)
		begin := time.Now()
		w.echo(conn, 4<<20)
		if took := time.Since(begin); took < 1500*time.Millisecond {
			t.Errorf("%s: 4 MiB at 2 MB/s took %v", to.name, took)
		}
	}
}

// TestComesAndGoes: connections live on while the fast path is taken away and
// brought back in the middle of them.
func TestComesAndGoes(t *testing.T) {
	w := newWorld(t)
	c := w.pods["c"]
	sandbox.Echo(t, c.ns, echoAt(c.v4))
	stream, datagrams := w.dial("a", "tcp", echoAt(c.v4)), w.dial("a", "udp", echoAt(c.v4))
	w.warm(datagrams)
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if err := errors.Join(echo(stream, 1<<20), echo(datagrams, 500)); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for i := range 12 {
		w.nodes["one"].fast, w.nodes["two"].fast = i%2 == 1, i%3 > 0
		w.apply()
		time.Sleep(100 * time.Millisecond)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, m := w.invalid("one"), w.invalid("two"); n+m > 0 {
		t.Errorf("conntrack called %d and %d packets invalid", n, m)
	}
}

// TestAgentAway: the fast path serves while no agent runs, and the next agent
// finds it as it should be.
func TestAgentAway(t *testing.T) {
	w := newWorld(t)
	c := w.pods["c"]
	sandbox.Echo(t, c.ns, echoAt(c.v4))
	stream := w.dial("a", "tcp", echoAt(c.v4))
	w.echo(stream, 1000)
	two := w.nodes["two"]
	before := two.packets()
	if err := two.host.Close(); err != nil {
		t.Fatal(err)
	}
	w.echo(stream, 4<<20)
	next, err := kernel.Open(kernel.Options{Namespace: two.ns})
	if err != nil {
		t.Fatal(err)
	}
	two.host = next
	t.Cleanup(func() { next.Close() })
	if n := w.apply(); n > 0 {
		t.Errorf("the next agent wrote %d times", n)
	}
	if n := two.packets() - before; n < 100 {
		t.Errorf("%d packets by the fast path meanwhile", n)
	}
}

// TestIdle: a flow by the fast path is known to conntrack for as long as the
// host's settings say after its last packet, and lives on when it comes back
// later than that.
func TestIdle(t *testing.T) {
	w := newWorld(t)
	c := w.pods["c"]
	sandbox.Echo(t, c.ns, echoAt(c.v4))
	for _, node := range []string{"one", "two"} {
		sandbox.Run(t, "ip netns exec "+node+" sysctl -qw net.netfilter.nf_conntrack_udp_timeout_stream=3 net.netfilter.nf_conntrack_tcp_timeout_established=3")
	}
	entries := func(of net.Conn) string {
		_, port, _ := net.SplitHostPort(of.LocalAddr().String())
		out := sandbox.Run(t, "ip netns exec two conntrack -L -o id -p "+of.LocalAddr().Network()+" --orig-port-src "+port)
		_, id, _ := strings.Cut(out, " id=")
		return strings.TrimSpace(id)
	}
	stream, datagrams := w.dial("a", "tcp", echoAt(c.v4)), w.dial("a", "udp", echoAt(c.v4))
	w.warm(datagrams)
	w.echo(stream, 1000)
	one, two := entries(stream), entries(datagrams)
	if one == "" || two == "" {
		t.Fatal("conntrack does not know the flows")
	}
	for range 6 {
		time.Sleep(time.Second)
		before := c.node.packets()
		w.echo(stream, 1000)
		w.echo(datagrams, 1000)
		if n := c.node.packets() - before; n < 4 {
			t.Errorf("%d of 4 packets by the fast path", n)
		}
	}
	if x, y := entries(stream), entries(datagrams); x != one || y != two {
		t.Errorf("other entries after six seconds: %s and %s, before %s and %s", x, y, one, two)
	}
	time.Sleep(5 * time.Second)
	if x, y := entries(stream), entries(datagrams); x != "" || y != "" {
		t.Errorf("entries after five idle seconds: %s %s", x, y)
	}
	w.echo(stream, 1<<20)
	w.echo(datagrams, 1000)
}

// TestAddressMovesOn: when a pod goes and another one gets its address, traffic
// reaches the new one, and the connections of the old one end.
func TestAddressMovesOn(t *testing.T) {
	w := newWorld(t)
	old := w.pods["c"]
	sandbox.Echo(t, old.ns, echoAt(old.v4))
	stream := w.dial("a", "tcp", echoAt(old.v4))
	w.echo(stream, 1<<20)
	old.node.pods = nil
	next := w.add("next", "two", 5)
	w.apply()
	sandbox.Echo(t, next.ns, echoAt(next.v4))
	conn := w.dial("a", "tcp", echoAt(next.v4))
	w.echo(conn, 1000)
	before := next.node.packets()
	w.echo(conn, 1<<20)
	if next.node.packets() == before {
		t.Error("the new pod has no fast path")
	}
	if err := echo(stream, 1000); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection of the old pod: %v", err)
	}
}

// TestSpoof: a pod that sends with another's address, in a connection that is
// established, is heard by nobody.
func TestSpoof(t *testing.T) {
	w := newWorld(t)
	a, c := w.pods["a"], w.pods["c"]
	sandbox.Echo(t, c.ns, echoAt(c.v4))
	conn := w.dial("a", "udp", echoAt(c.v4))
	w.warm(conn)
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if n := answers(t, w, "a", local, conn); n != 1 {
		t.Fatalf("a's own datagram was answered %d times: this test shows nothing", n)
	}
	before := a.node.packets() + c.node.packets()
	if n := answers(t, w, "b", local, conn); n != 0 {
		t.Errorf("b's datagram with a's address was answered")
	}
	if n := a.node.packets() + c.node.packets() - before; n != 0 {
		t.Errorf("%d packets with a false address by the fast path", n)
	}
}

// answers sends a datagram with the source given from a pod to c, and counts
// what comes back to conn.
func answers(t *testing.T, w *world, from string, src netip.AddrPort, conn net.Conn) (n int) {
	t.Helper()
	fd, err := sandbox.At(w.path(from), func() (int, error) {
		return syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	dst := w.pods["c"].v4
	s, d := src.Addr().As4(), dst.As4()
	packet := []byte{0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0}
	packet = append(append(packet, s[:]...), d[:]...)
	packet = append(packet, byte(src.Port()>>8), byte(src.Port()), 0, 7, 0, 12, 0, 0, 'f', 'a', 'k', 'e') // no checksum
	if err := syscall.Sendto(fd, packet, 0, &syscall.SockaddrInet4{Addr: d}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			return n
		}
		n++
	}
}
