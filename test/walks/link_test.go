// SPDX-License-Identifier: Apache-2.0

package walks_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// TestLinkDrivers: a link does what docs/walks/packet.md tells whatever speaks
// WireGuard at its ends: the kernel, wireguard-go in the agent, or one of each.
func TestLinkDrivers(t *testing.T) {
	kernel.Need(t, kernel.FeatureVXLAN)
	kernel.Need(t, kernel.FeatureTUN)
	for _, edge := range kernel.Drivers(t) {
		for _, cloud := range kernel.Drivers(t) {
			t.Run(fmt.Sprintf("%s to %s", edge, cloud), func(t *testing.T) {
				l := newLink(t, edge, cloud)
				t.Run("traffic", l.traffic)
				t.Run("a round without news writes nothing", l.quiet)
				t.Run("an agent restarts", l.restarts)
				t.Run("a new key", l.rotates)
			})
		}
	}
}

// link is a gateway in a shop behind NAT and one in the cloud, a pod on each.
type link struct {
	*world
	edge, cloud *node
}

func newLink(t *testing.T, edge, cloud kernel.Driver) *link {
	t.Helper()
	l := &link{world: newWorld(t.TempDir())}
	t.Cleanup(l.close)
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	l.drivers = map[string]kernel.Driver{"a-1": edge, "cloud-1": cloud}
	l.do(t, l.link, "cloud 10.0.0.0/24 public")
	l.do(t, l.link, "shop-a 192.168.1.0/24")
	l.do(t, l.node, "cloud-1 cloud")
	l.do(t, l.node, "a-1 shop-a")
	l.do(t, l.apply, "")
	l.do(t, l.pod, "add client a-1")
	l.do(t, l.pod, "add web cloud-1")
	l.edge, l.cloud = l.find("a-1"), l.find("cloud-1")
	for _, n := range []*node{l.edge, l.cloud} {
		if got := l.session(t, n).Driver; got != l.drivers[n.name] {
			t.Fatalf("%s has WireGuard by %q, want %q", n.name, got, l.drivers[n.name])
		}
		sandbox.Echo(t, l.podOn(n).ns(), l.echoAt(n))
	}
	return l
}

// do performs a verb of the scripts and returns what it prints.
func (l *link) do(t *testing.T, verb func([]string) (string, error), words string) string {
	t.Helper()
	out, err := verb(strings.Fields(words))
	if err != nil {
		t.Fatalf("%s: %v", words, err)
	}
	return out
}

func (l *link) podOn(n *node) *pod {
	if n == l.edge {
		return l.pods["client"]
	}
	return l.pods["web"]
}

func (l *link) echoAt(n *node) string { return netip.AddrPortFrom(l.podOn(n).addr, 7).String() }

// session is what a node's WireGuard says of itself and its one peer.
func (l *link) session(t *testing.T, n *node) session {
	t.Helper()
	said, err := n.agent.ask(order{})
	if err != nil {
		t.Fatal(err)
	}
	if said.Session.Peers != 1 {
		t.Fatalf("%s has %d peers, want one: %+v", n.name, said.Session.Peers, said.Session)
	}
	return said.Session
}

// traffic goes both ways, in small and in whole packets, with the pods' own
// addresses.
func (l *link) traffic(t *testing.T) {
	t.Helper()
	for _, way := range [][2]*node{{l.edge, l.cloud}, {l.cloud, l.edge}} {
		from, to := l.podOn(way[0]), l.podOn(way[1])
		seen := l.do(t, l.send, from.name+" "+to.name)
		if want := "tcp: " + to.name + " sees " + from.addr.String(); !strings.Contains(seen, want) {
			t.Errorf("got %q, want %q", seen, want)
		}
		full := l.session(t, way[0]).MTU - 28 // IP and UDP
		for network, size := range map[string]int{"udp": full, "tcp": 64 << 10} {
			if _, err := sandbox.Ask(t, from.ns(), network, l.echoAt(way[1]), size); err != nil {
				t.Errorf("%s to %s: %v", from.name, to.name, err)
			}
		}
	}
}

// quiet: nobody writes, and WireGuard goes on with the session it has.
func (l *link) quiet(t *testing.T) {
	t.Helper()
	// Both ends may have greeted each other at once: one session of the two stays.
	before := [2]session{}
	for range 20 {
		now := [2]session{l.session(t, l.edge), l.session(t, l.cloud)}
		if now == before {
			break
		}
		before = now
		time.Sleep(300 * time.Millisecond)
	}
	for range 3 {
		if out := l.do(t, l.apply, ""); out != "cloud-1: 0 steps\na-1: 0 steps\n" {
			t.Errorf("wrote without news:\n%s", out)
		}
	}
	if after := [2]session{l.session(t, l.edge), l.session(t, l.cloud)}; after != before {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
}

// restarts: a connection outlives the agents at its ends. The kernel's sessions
// go on meanwhile, and the new agent finds all as it should be.
func (l *link) restarts(t *testing.T) {
	c := l.dial(t)
	for _, n := range []*node{l.edge, l.cloud} {
		before := l.session(t, n)
		n.agent.close()
		if l.drivers["a-1"] == kernel.DriverKernel && l.drivers["cloud-1"] == kernel.DriverKernel {
			c.exchange(t, "while "+n.name+" has no agent")
		}
		var err error
		if n.agent, err = startAgent(n.name, l.dir, l.drivers[n.name]); err != nil {
			t.Fatal(err)
		}
		out := l.do(t, l.apply, "")
		after := l.session(t, n)
		if l.drivers[n.name] == kernel.DriverKernel {
			if !strings.Contains(out, n.name+": 0 steps") {
				t.Errorf("the new agent of %s wrote:\n%s", n.name, out)
			}
			if after != before {
				t.Errorf("%s: before %+v\nafter  %+v", n.name, before, after)
			}
		}
		if after.Key != before.Key {
			t.Errorf("%s has another key", n.name)
		}
		c.exchange(t, "after the agent of "+n.name+" began anew")
	}
}

// rotates: a key is replaced, as the link's far end learns from the cluster. A
// connection goes on, and of the old key nothing stays.
func (l *link) rotates(t *testing.T) {
	c := l.dial(t)
	for _, n := range []*node{l.edge, l.cloud} {
		far := l.cloud
		if n == l.cloud {
			far = l.edge
		}
		before := l.session(t, n)
		if _, err := n.agent.ask(order{NewKey: true}); err != nil {
			t.Fatal(err)
		}
		l.do(t, l.apply, "")
		after := l.session(t, n)
		if after.Key == before.Key {
			t.Fatalf("%s still has its old key", n.name)
		}
		if got := l.session(t, far).PeerKey; got != after.Key {
			t.Errorf("%s has peer %s, want the new key %s of %s", far.name, got, after.Key, n.name)
		}
		c.exchange(t, "after "+n.name+" has a new key")
		if now := l.session(t, n); !now.Handshake.After(before.Handshake) {
			t.Errorf("%s: no handshake with the new key: %+v", n.name, now)
		}
	}
	l.traffic(t)
}

// conversation is one TCP connection from the shop's pod to the cloud's.
type conversation struct{ net.Conn }

func (l *link) dial(t *testing.T) conversation {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	c, err := sandbox.At(l.pods["client"].ns(), func() (net.Conn, error) { return d.DialContext(t.Context(), "tcp", l.echoAt(l.cloud)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return conversation{c}
}

// exchange sends and gets a few segments back, before an edge that nobody has
// dialled would find out by its keepalive.
func (c conversation) exchange(t *testing.T, when string) {
	t.Helper()
	begin := time.Now()
	c.SetDeadline(begin.Add(patience)) //nolint:errcheck // the read sees it
	go c.Write(make([]byte, 8<<10))    //nolint:errcheck // the read sees it
	if _, err := io.ReadFull(c, make([]byte, 8<<10)); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	t.Logf("%s: answered after %s", when, time.Since(begin).Round(time.Millisecond))
}

// sessionOf reads the device.
func sessionOf(host *kernel.Host, mtu int, key string) (session, error) {
	state, err := host.LinkState(api.DeviceMesh)
	if err != nil {
		return session{}, err
	}
	s := session{Driver: kernel.DriverKernel, MTU: mtu, Key: key, Peers: len(state.Peers)}
	if state.Userspace {
		s.Driver = kernel.DriverUserspace
	}
	for _, p := range state.Peers {
		s.PeerKey, s.Handshake = p.PublicKey, p.LastHandshake
	}
	return s, nil
}
