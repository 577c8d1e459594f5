// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/disk"
	"github.com/magpie-edge/magpie/cni/socket"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
)

// inside marks the process that runs in namespaces of its own; its value is
// the folder with the executables.
const inside = "MAGPIE_CNI_TEST_BIN"

// TestMain runs the tests in a new network and mount namespace (and a new user
// namespace when we are not root), so that they never touch the host.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(outside()) //nolint:forbidigo // the main of tests
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare namespaces:", err)
		os.Exit(1) //nolint:forbidigo // the main of tests
	}
	os.Exit(m.Run()) //nolint:forbidigo // the main of tests
}

// outside builds magpie-cni, starts this program again, inside, and waits.
func outside() int {
	bin, err := os.MkdirTemp("", "magpie-cni-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	build := exec.Command("go", "build", "-o", bin, "github.com/magpie-edge/magpie/cmd/magpie-cni") //nolint:noctx // ends by itself
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build magpie-cni: %v\n%s", err, out)
		return 1
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // ends with its tests
	cmd.Env = append(os.Environ(), inside+"="+bin)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	signal.Ignore(os.Interrupt) // the tests get it, too, and clean up
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run in new namespaces:", err)
		return 1
	}
	return 0
}

func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Setenv("XTABLES_LOCKFILE", "/run/xtables.lock"); err != nil {
		return err
	}
	// Package net looks once, when it first listens, whether there is ::1.
	// Pods of these tests have none.
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil { //nolint:noctx // at start
		return fmt.Errorf("set lo up: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "[::1]:0") //nolint:noctx // local
	if err != nil {
		return err
	}
	_ = l.Close()
	return os.MkdirAll("/run/netns", 0o755)
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
	return libcni.NewCNIConfigWithCacheDir([]string{os.Getenv(inside)}, filepath.Join(n.dir, "cache"), nil), list
}

// newNS makes a named network namespace and returns its path.
func newNS(t *testing.T, prefix string) string {
	t.Helper()
	id := fmt.Sprintf("%s-%d", prefix, serial.next())
	run(t, "ip", "netns", "add", id)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", id).Run() }) //nolint:noctx // after the test's context
	return "/run/netns/" + id
}

var serial counter

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

func name(path string) string { return filepath.Base(path) }

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// in calls f on a thread inside the namespace. Sockets made by f stay there.
func in[T any](t *testing.T, ns string, f func() (T, error)) (T, error) {
	t.Helper()
	type outcome struct {
		v   T
		err error
	}
	c := make(chan outcome)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open(ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		var v T
		if err == nil {
			v, err = f()
		}
		c <- outcome{v, err}
	}()
	o := <-c
	return o.v, o.err
}
