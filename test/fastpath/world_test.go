// SPDX-License-Identifier: Apache-2.0

// Package fastpath_test sends real traffic by the fast path and around it.
package fastpath_test

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/vxlan"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) } //nolint:forbidigo // TestMain

// world is two nodes on a switch, with a stranger beside them:
//
//	pods a, b -- one == switch == two -- pod c
//	                      |
//	                  stranger
//
// Both families; each node has a rule that counts what conntrack calls invalid
// in FORWARD, where kube-proxy drops it.
type world struct {
	t     *testing.T
	nodes map[string]*node
	pods  map[string]*pod
	// beyond is a range outside the cluster to which pods keep their address.
	beyond netip.Prefix
}

type node struct {
	number int
	ns     string
	host   *kernel.Host
	fast   bool
	pods   []*pod
}

type pod struct {
	name   string
	ns     string
	node   *node
	v4, v6 netip.Addr
	is     cni.Pod
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kernel.Need(t, kernel.FeatureFastPath)
	w := &world{t: t, nodes: map[string]*node{}, pods: map[string]*pod{}}
	sandbox.Namespace(t, "switch")
	sandbox.Run(t, "ip -n switch link add br0 type bridge\nip -n switch link set br0 up")
	for i, name := range []string{"one", "two", "stranger"} {
		ns := sandbox.Namespace(t, name)
		sandbox.Run(t, strings.NewReplacer("NAME", name, "N", strconv.Itoa(i+1)).Replace(`
			ip -n switch link add to-NAME type veth peer name eth0 netns NAME
			ip -n switch link set to-NAME master br0 up
			ip -n NAME link set eth0 up
			ip -n NAME addr add 192.168.50.N/24 dev eth0
			ip -n NAME addr add fd50::N/64 dev eth0 nodad`))
		if name == "stranger" {
			continue
		}
		host, err := kernel.Open(kernel.Options{Namespace: ns})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { host.Close() })
		w.nodes[name] = &node{number: i + 1, ns: ns, host: host, fast: true}
		sandbox.Run(t, strings.ReplaceAll(`
			ip netns exec NAME nft add table inet kube
			ip netns exec NAME nft add chain inet kube forward { type filter hook forward priority 0 ; }
			ip netns exec NAME nft add rule inet kube forward ct state invalid counter drop`, "NAME", name))
	}
	w.add("a", "one", 5)
	w.add("b", "one", 6)
	w.add("c", "two", 5)
	w.apply()
	return w
}

func (n *node) cidrs() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", n.number)),
		netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%d::/64", n.number)),
	}
}

func (n *node) name() string { return []string{"", "one", "two"}[n.number] }

func (w *world) view(n *node) fleet.View {
	u4, u6 := netip.MustParseAddr(fmt.Sprintf("192.168.50.%d", n.number)), netip.MustParseAddr(fmt.Sprintf("fd50::%d", n.number))
	v := fleet.View{
		Self: fleet.Self{
			Node: n.name(), Domain: "gw-cloud", PodCIDRs: n.cidrs(),
			Underlay4: fleet.Underlay{Dev: "eth0", Addr: u4, MTU: 1500}, Underlay6: fleet.Underlay{Dev: "eth0", Addr: u6, MTU: 1500},
			VTEPMAC: fleet.MAC(n.name(), "vxlan4"), VTEPMAC6: fleet.MAC(n.name(), "vxlan6"),
		},
		Settings: fleet.Settings{
			ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")},
			VNI:          api.VNI, Port: api.PortVXLAN, FastPath: n.fast,
		},
	}
	if w.beyond.IsValid() {
		v.Settings.NonMasquerade = []netip.Prefix{w.beyond}
	}
	home := fleet.Domain{Name: "gw-cloud", Cloud: true}
	for i := range 2 {
		m := &node{number: i + 1}
		home.Nodes = append(home.Nodes, fleet.Node{
			Name: m.name(), PodCIDRs: m.cidrs(),
			Addr4: netip.MustParseAddr(fmt.Sprintf("192.168.50.%d", m.number)), Addr6: netip.MustParseAddr(fmt.Sprintf("fd50::%d", m.number)),
			VTEPMAC: fleet.MAC(m.name(), "vxlan4"), VTEPMAC6: fleet.MAC(m.name(), "vxlan6"),
		})
	}
	v.Domains = []fleet.Domain{home}
	return v
}

// add plans a pod; apply makes it.
func (w *world) add(name, on string, last int) *pod {
	n := w.nodes[on]
	p := &pod{
		name: name, node: n, ns: sandbox.Namespace(w.t, "pod-"+name),
		v4: netip.AddrFrom4([4]byte{10, 42, byte(n.number), byte(last)}),
		v6: netip.MustParseAddr(fmt.Sprintf("fd42:0:0:%d::%x", n.number, last)),
	}
	p.is = cni.Pod{Key: cni.Key{Container: name, IfName: "eth0"}, NetNS: p.ns, Addrs: []netip.Addr{p.v4, p.v6}}
	n.pods = append(n.pods, p)
	w.pods[name] = p
	return p
}

// apply makes everything as planned, with the product's planners and door, and
// returns the number of writes.
func (w *world) apply() (writes int) {
	w.t.Helper()
	for _, n := range w.nodes {
		view := w.view(n)
		over, err := vxlan.Plan(view)
		if err != nil {
			w.t.Fatal(err)
		}
		pods := cni.Masquerade(view)
		var spaces []string
		for _, p := range n.pods {
			pods = plan.Merge(pods, cni.Plan(p.is, view))
			spaces = append(spaces, p.ns)
		}
		writes += w.become(n, vxlan.Owner, over, nil)
		writes += w.become(n, cni.Owner, pods, spaces)
	}
	return writes
}

func (w *world) become(n *node, o plan.Owner, want plan.Plan, spaces []string) (writes int) {
	w.t.Helper()
	world := n.host.Own(o, kernel.WithNamespaces(func() []string { return spaces }))
	have, err := world.Observe(w.t.Context())
	if err == nil {
		writes, err = world.Apply(w.t.Context(), have, want)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return writes
}

// fast is how many packets the fast path of a node has carried.
func (n *node) packets() uint64 { count, _ := n.host.FastPathPackets(); return count }

// invalid is how many packets conntrack called invalid in FORWARD.
func (w *world) invalid(on string) int {
	w.t.Helper()
	out := sandbox.Run(w.t, "ip netns exec "+on+" nft list chain inet kube forward")
	_, rest, _ := strings.Cut(out, "counter packets ")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// dial connects from a pod; with a port, from that one.
func (w *world) dial(from, network, addr string) net.Conn {
	w.t.Helper()
	c, err := sandbox.At(w.path(from), func() (net.Conn, error) {
		return (&net.Dialer{Timeout: 3 * time.Second}).DialContext(w.t.Context(), network, addr)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) path(name string) string {
	if p, ok := w.pods[name]; ok {
		return p.ns
	}
	return "/run/netns/" + name
}

// echo sends n bytes and wants them back.
func echo(c net.Conn, n int) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	errs := make(chan error, 1)
	go func() { _, err := c.Write(make([]byte, n)); errs <- err }()
	buf := make([]byte, 64<<10)
	for got := 0; got < n; {
		k, err := c.Read(buf)
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", got, n, err)
		}
		got += k
	}
	return <-errs
}

func (w *world) echo(c net.Conn, n int) {
	w.t.Helper()
	if err := echo(c, n); err != nil {
		w.t.Fatalf("%s %s to %s: %v%s", c.LocalAddr().Network(), c.LocalAddr(), c.RemoteAddr(), err, w.stand())
	}
}

// stand is how things stand in every namespace: the timers and windows of TCP,
// and what was dropped where.
func (w *world) stand() string {
	var out strings.Builder
	look := func(name string) {
		in := "ip netns exec " + name + " "
		fmt.Fprintf(&out, "\n== %s\n%s", name, sandbox.Run(w.t, in+"ss -tinom\n"+in+"cat /proc/net/netstat /proc/net/snmp6\n"+in+"ip -s link"))
	}
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		look(name)
	}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		look(name)
	}
	return out.String()
}

// warm exchanges datagrams until conntrack is assured of the flow, which it is
// two seconds after its first packet.
func (w *world) warm(c net.Conn) {
	w.t.Helper()
	for range 6 {
		w.echo(c, 10)
		time.Sleep(450 * time.Millisecond)
	}
}

// echoAt is where an echo server of an address listens.
func echoAt(a netip.Addr) string { return netip.AddrPortFrom(a, 7).String() }
