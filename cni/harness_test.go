// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/disk"
	"github.com/magpie-edge/magpie/cni/socket"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) } //nolint:forbidigo // how a TestMain ends

// programs builds magpie-cni, once, into a folder that goes away with the
// namespaces, and returns the folder.
var programs = sync.OnceValues(func() (string, error) {
	const dir = "/run/magpie-cni-test"
	build := exec.Command("go", "build", "-o", dir+"/", "github.com/magpie-edge/magpie/cmd/magpie-cni")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build magpie-cni: %w\n%s", err, out)
	}
	return dir, nil
})

// bin is programs for a test.
func (n *node) bin() string {
	n.t.Helper()
	dir, err := programs()
	if err != nil {
		n.t.Fatal(err)
	}
	return dir
}

// node is one node: a network namespace with an uplink to a namespace
// "outside", the agent's pod side, and libcni in the runtime's place.
type node struct {
	t      *testing.T
	ns     string // path of the namespace
	away   string // path of the namespace behind the uplink
	host   *kernel.Host
	own    reconcile.World[plan.Plan]
	server *cni.Server
	sock   string
	dir    string // state
	view   fleet.View
	stop   func()
	wrap   func(reconcile.World[plan.Plan]) reconcile.World[plan.Plan] // nil: the kernel as it is

	mu    sync.Mutex
	clock time.Duration // added to the real time
	still time.Time     // the time, if not zero
	done  []cni.Done
	ready bool
}

var (
	nodes4 = netip.MustParsePrefix("192.168.1.11/24")
	nodes6 = netip.MustParsePrefix("fd01::11/64")
	away4  = netip.MustParseAddr("192.168.1.99")
	away6  = netip.MustParseAddr("fd01::99")
)

// newNode starts a node. Pod CIDRs: a small one, so that tests can fill it.
func newNode(t *testing.T, cidrs ...string) *node {
	t.Helper()
	if len(cidrs) == 0 {
		cidrs = []string{"10.42.3.0/24", "fd42:3::/64"}
	}
	n := &node{t: t, dir: t.TempDir(), ready: true}
	n.ns = newNS(t, "host")
	n.away = newNS(t, "outside")
	n.wire(n.away)
	n.view = fleet.View{
		Self: fleet.Self{
			Node: "a-1", Domain: "gw-shop-a",
			Underlay4: fleet.Underlay{Dev: "eth0", Addr: nodes4.Addr(), MTU: 1500},
			Underlay6: fleet.Underlay{Dev: "eth0", Addr: nodes6.Addr(), MTU: 1500},
		},
		Domains: []fleet.Domain{{Name: "gw-shop-a", Nodes: []fleet.Node{{Name: "a-1", Addr4: nodes4.Addr(), Addr6: nodes6.Addr()}}}},
		Settings: fleet.Settings{ClusterCIDRs: []netip.Prefix{
			netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/16"),
		}},
	}
	for _, c := range cidrs {
		n.view.Self.PodCIDRs = append(n.view.Self.PodCIDRs, netip.MustParsePrefix(c))
	}
	host, err := kernel.Open(kernel.Options{Namespace: n.ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	n.host = host
	n.own = host.Own(cni.Owner,
		kernel.WithNamespaces(func() []string { return n.server.Namespaces() }),
		kernel.WithSysctls(func() []plan.SysctlKey { return n.server.Settings() }))
	n.start()
	return n
}

// wire joins host and outside with a veth pair called eth0 at both ends.
func (n *node) wire(out string) {
	n.t.Helper()
	run(n.t, "ip", "link", "add", "eth0", "netns", name(n.ns), "type", "veth", "peer", "name", "eth0", "netns", name(out))
	for _, e := range []struct{ ns, a4, a6 string }{
		{n.ns, nodes4.String(), nodes6.String()}, {out, away4.String() + "/24", away6.String() + "/64"},
	} {
		run(n.t, "ip", "-n", name(e.ns), "link", "set", "lo", "up")
		run(n.t, "ip", "-n", name(e.ns), "addr", "add", e.a4, "dev", "eth0")
		run(n.t, "ip", "-n", name(e.ns), "addr", "add", e.a6, "dev", "eth0", "nodad")
		// No link-local address: it would come up while a test compares.
		run(n.t, "ip", "-n", name(e.ns), "link", "set", "eth0", "addrgenmode", "none", "up")
	}
	run(n.t, "ip", "-n", name(n.ns), "route", "add", "default", "via", away4.String())
	run(n.t, "ip", "-n", name(n.ns), "-6", "route", "add", "default", "via", away6.String())
}

func (n *node) world() reconcile.World[plan.Plan] {
	if n.wrap != nil {
		return n.wrap(n.own)
	}
	return n.own
}

func (n *node) current() (fleet.View, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.view, n.ready
}

// start starts the agent's pod side, and repairs once, as the loop would.
func (n *node) start() {
	n.t.Helper()
	journal, err := disk.OpenJournal(filepath.Join(n.dir, "ledger.db"))
	if err != nil {
		n.t.Fatal(err)
	}
	ledger, err := cni.OpenLedger(journal, "boot")
	if err != nil {
		n.t.Fatal(err)
	}
	n.server = cni.NewServer(cni.Config{
		View:  n.current,
		World: n.world(), Door: n.host, Ledger: ledger, Now: n.now,
		Report: func(d cni.Done) { n.mu.Lock(); defer n.mu.Unlock(); n.done = append(n.done, d) },
	})
	if err := n.server.Recover(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	n.repair()
	n.sock = filepath.Join(n.dir, "cni.sock")
	l, err := net.Listen("unix", n.sock) //nolint:noctx // local
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &socket.Server{Handle: n.server.Handle, Undelivered: n.server.Undelivered, Limit: 16, Patience: time.Minute, Now: time.Now}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(ctx, l)
	}()
	n.stop = func() { cancel(); <-served; _ = journal.Close() }
	n.t.Cleanup(n.stop)
}

func (n *node) now() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.still.IsZero() {
		return n.still
	}
	return time.Now().Add(n.clock)
}

// repair runs one round of the agent's "cni" loop and returns its steps.
func (n *node) repair() int {
	n.t.Helper()
	want, err := n.server.Desire(n.view)
	if err != nil {
		n.t.Fatal(err)
	}
	world := n.server.World()
	have, err := world.Observe(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	steps, err := world.Apply(n.t.Context(), have, want)
	if err != nil {
		n.t.Fatal(err)
	}
	return steps
}

// snapshot is everything in the host's namespace that a leak could show in.
// The table and accepts of the node are in it, so a repair must have run.
func (n *node) snapshot() string {
	n.t.Helper()
	// The carrier of a new pair comes a little later, and is no difference.
	for range 1000 {
		if !strings.Contains(run(n.t, "ip", "-n", name(n.ns), "link"), "NO-CARRIER") {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	var b strings.Builder
	for _, args := range [][]string{
		{"ip", "-n", name(n.ns), "-br", "link"},
		{"ip", "-n", name(n.ns), "addr"},
		{"ip", "-n", name(n.ns), "route", "show", "table", "all"},
		{"ip", "-n", name(n.ns), "-6", "route", "show", "table", "all"},
		{"ip", "-n", name(n.ns), "neigh"},
		{"ip", "netns", "exec", name(n.ns), "tc", "qdisc"},
		{"ip", "netns", "exec", name(n.ns), "nft", "-s", "list", "ruleset"},
	} {
		for line := range strings.Lines(run(n.t, args...)) {
			if strings.Contains(line, "eth0") && strings.Contains(line, "lladdr") {
				continue // the uplink's own neighbours come and go
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

// cni returns libcni with our conflist in the given version.
func (n *node) cni(version string) (*libcni.CNIConfig, *libcni.NetworkConfigList) {
	n.t.Helper()
	b, err := cni.Conflist()
	if err != nil {
		n.t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(b, &conf); err != nil {
		n.t.Fatal(err)
	}
	conf["cniVersion"] = version
	delete(conf, "cniVersions")
	if b, err = json.Marshal(conf); err != nil {
		n.t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(b)
	if err != nil {
		n.t.Fatal(err)
	}
	if list.CNIVersion != version {
		n.t.Fatalf("list has version %s, want %s", list.CNIVersion, version)
	}
	n.t.Setenv("MAGPIE_CNI_SOCKET", n.sock)
	return libcni.NewCNIConfigWithCacheDir([]string{n.bin()}, filepath.Join(n.dir, "cache"), nil), list
}

// newNS makes a network namespace whose name begins with prefix and returns
// its path.
func newNS(t *testing.T, prefix string) string {
	t.Helper()
	return sandbox.Namespace(t, fmt.Sprintf("%s-%d", prefix, serial.Add(1)))
}

var serial atomic.Int64

func name(path string) string { return filepath.Base(path) }

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
