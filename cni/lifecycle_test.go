// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/shim"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

func (n *node) ledger() string { return filepath.Join(n.dir, "ledger.db") }

// edit rewrites the journal while the agent is down.
func (n *node) edit(f func([]byte) []byte) {
	n.t.Helper()
	b, err := os.ReadFile(n.ledger())
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.ledger(), f(b), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// TestKernelRestart: an agent that comes back serves what it left.
func TestKernelRestart(t *testing.T) {
	n := newNode(t)
	p := n.added(mapping("tcp", 8080, 80, ""))
	before := n.snapshot()
	n.stop()
	n.start()
	if steps := n.repair(); steps != 0 {
		t.Errorf("%d steps after a restart", steps)
	}
	if diff := cmp.Diff(before, n.snapshot()); diff != "" {
		t.Errorf("a restart changed the kernel (-before +after)\n%s", diff)
	}
	if err := p.check(); err != nil {
		t.Error(err)
	}
	if q := n.added(nil); q.ip4 == p.ip4 {
		t.Errorf("%s given out twice", q.ip4)
	}
	if err := p.del(); err != nil {
		t.Error(err)
	}
}

// TestKernelKilledAgent: the agent dies in the middle of an ADD, with the pod
// in the kernel and no commit. Its next life undoes it.
func TestKernelKilledAgent(t *testing.T) {
	n := newNode(t)
	before := n.snapshot()
	n.added(mapping("udp", 8080, 80, ""))
	n.stop()
	n.edit(func(b []byte) []byte {
		last := bytes.LastIndexByte(bytes.TrimSuffix(b, []byte("\n")), '\n')
		if !bytes.Contains(b[last+1:], []byte(`"commit"`)) {
			t.Fatalf("last line is %s", b[last+1:])
		}
		return b[:last+20] // and a part of the line that was being written
	})
	n.start()
	if diff := cmp.Diff(before, n.snapshot()); diff != "" {
		t.Errorf("leaked (-before +after)\n%s", diff)
	}
	if pods := n.server.Pods(); len(pods) != 0 {
		t.Errorf("ledger holds %v", pods)
	}
}

// TestKernelDamagedLedger: with the ledger gone or unreadable, pods live on,
// nobody gets their addresses, and DEL still removes them.
func TestKernelDamagedLedger(t *testing.T) {
	for what, damage := range map[string]func([]byte) []byte{
		"garbage": func([]byte) []byte { return []byte("\x00\x01garbage\n") },
		"one line": func(b []byte) []byte {
			i := bytes.Index(b, []byte(`"reserve"`))
			b[i+3] ^= 1
			return b
		},
	} {
		t.Run(what, func(t *testing.T) {
			n := newNode(t)
			before := n.snapshot()
			p := n.added(mapping("tcp", 8080, 80, ""))
			q := n.added(nil)
			n.stop()
			n.edit(damage)
			n.start()
			n.repair()
			if got := exchange(t, n.away, p.rt.NetNS, "tcp", netip.AddrPortFrom(nodes4.Addr(), 8080), 80); got.err != nil {
				t.Errorf("hostPort of a pod the ledger lost: %v", got.err)
			}
			if got := echo(t, n.ns, p.rt.NetNS, "tcp", netip.AddrPortFrom(p.ip6, 80)); got.err != nil {
				t.Errorf("pod the ledger lost: %v", got.err)
			}
			for range 3 {
				if r := n.added(nil); r.ip4 == p.ip4 || r.ip4 == q.ip4 || r.ip6 == p.ip6 {
					t.Errorf("%s given out twice", r.ip4)
				} else if err := r.del(); err != nil {
					t.Error(err)
				}
			}
			if !n.told("RECOVER", "the ledger was damaged") {
				t.Error("nobody was told")
			}
			for _, x := range []*pod{p, q} {
				if err := x.del(); err != nil {
					t.Error(err)
				}
			}
			n.repair()
			n.repair()
			if diff := cmp.Diff(before, n.snapshot()); diff != "" {
				t.Errorf("leaked (-before +after)\n%s", diff)
			}
		})
	}
}

func (n *node) told(verb, text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.done {
		if d.Verb == verb && d.Err != nil && strings.Contains(d.Err.Error(), text) {
			return true
		}
	}
	return false
}

// TestKernelOrphan: the runtime forgets a pod. Its namespace goes, no DEL comes.
func TestKernelOrphan(t *testing.T) {
	n := newNode(t)
	before := n.snapshot()
	keep, p := n.added(nil), n.added(mapping("tcp", 8080, 80, ""))
	n.server.Collect(t.Context())
	if len(n.server.Pods()) != 2 {
		t.Fatal("a living pod was collected")
	}
	run(t, "ip", "netns", "del", name(p.rt.NetNS))
	deadline := time.Now().Add(5 * time.Second)
	for len(n.server.Pods()) != 1 { // the kernel takes its time to end a namespace
		if time.Now().After(deadline) {
			t.Fatal("not collected")
		}
		n.server.Collect(t.Context())
		time.Sleep(20 * time.Millisecond)
	}
	if err := keep.check(); err != nil {
		t.Error(err)
	}
	if err := keep.del(); err != nil {
		t.Error(err)
	}
	n.repair()
	if diff := cmp.Diff(before, n.snapshot()); diff != "" {
		t.Errorf("leaked (-before +after)\n%s", diff)
	}
}

// slow is a World that stops before it makes a device, until it is let go on.
type slow struct {
	reconcile.World[plan.Plan]
	reached, proceed chan struct{}
}

func (s slow) Apply(ctx context.Context, have, want plan.Plan) (int, error) {
	if len(want.Devices) > 0 {
		s.reached <- struct{}{}
		<-s.proceed
	}
	return s.World.Apply(ctx, have, want)
}

// TestKernelKilledShim: the runtime gives up in the middle of an ADD. The agent
// takes back what it made, at once.
func TestKernelKilledShim(t *testing.T) {
	n := newNode(t)
	n.stop()
	reached, proceed := make(chan struct{}), make(chan struct{})
	n.wrap = func(w reconcile.World[plan.Plan]) reconcile.World[plan.Plan] { return slow{w, reached, proceed} }
	n.start()
	before := n.snapshot()
	ns := newNS(t, "pod")
	conn, err := net.Dial("unix", n.sock) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	call := shim.Request{Command: "ADD", ContainerID: "killed", NetNS: ns, IfName: "eth0", Config: []byte(goodConfig)}
	if err := shim.WriteFrame(conn, &call); err != nil {
		t.Fatal(err)
	}
	<-reached
	_ = conn.Close()
	close(proceed)
	deadline := time.Now().Add(5 * time.Second)
	for {
		n.mu.Lock()
		answered := len(n.done) > 0
		n.mu.Unlock()
		if diff := cmp.Diff(before, n.snapshot()); answered && diff == "" && len(n.server.Pods()) == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("leaked: pods %v (-before +after)\n%s", n.server.Pods(), diff)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if left := run(t, "ip", "-n", name(ns), "-br", "link"); strings.Contains(left, "eth0") {
		t.Errorf("left in the pod: %s", left)
	}
}

// broken is a World that does only a part of an ADD.
type broken struct {
	*node
	keep func(plan.Plan) plan.Plan
}

var errBroken = errors.New("no buffer space available")

func (b broken) Observe(ctx context.Context) (plan.Plan, error) { return b.own.Observe(ctx) }

func (b broken) Apply(ctx context.Context, have, want plan.Plan) (int, error) {
	if len(want.Devices) == 0 {
		return b.own.Apply(ctx, have, want) // a removal
	}
	steps, err := b.own.Apply(ctx, have, b.keep(want))
	return steps, errors.Join(err, errBroken)
}

// TestKernelFailedAdd fails an ADD after every kind of object and shows that
// nothing stays.
func TestKernelFailedAdd(t *testing.T) {
	for what, keep := range map[string]func(plan.Plan) plan.Plan{
		"nothing":      func(plan.Plan) plan.Plan { return plan.Plan{} },
		"devices":      func(p plan.Plan) plan.Plan { return plan.Plan{Devices: p.Devices} },
		"members":      func(p plan.Plan) plan.Plan { return plan.Plan{Members: p.Members} },
		"but routes":   func(p plan.Plan) plan.Plan { p.Routes = nil; return p },
		"but settings": func(p plan.Plan) plan.Plan { p.Sysctls = nil; return p },
		"everything":   func(p plan.Plan) plan.Plan { return p },
	} {
		t.Run(what, func(t *testing.T) {
			n := newNode(t)
			before := n.snapshot()
			ns := newNS(t, "pod")
			s := cni.NewServer(cni.Config{
				View: n.current, World: broken{n, keep}, Door: n.host, Ledger: openLedger(t, newMemory(), "boot"), Now: n.now,
			})
			if got := s.Handle(t.Context(), shim.Request{Command: "DEL", ContainerID: "c", IfName: "eth0", Config: []byte(goodConfig)}); !strings.Contains(string(got.Stdout), `"code":11`) {
				t.Errorf("before Recover: %s", got.Stdout)
			}
			if _, err := s.Desire(n.view); !errors.Is(err, reconcile.ErrNotReady) {
				t.Errorf("Desire before Recover: %v", err)
			}
			if err := s.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			answer := s.Handle(t.Context(), shim.Request{
				Command: "ADD", ContainerID: "c", NetNS: ns, IfName: "eth0",
				Config: []byte(runtimeConfig(`"portMappings":[{"hostPort":80,"containerPort":80,"protocol":"udp"}],"bandwidth":{"egressRate":1000000,"ingressRate":1000000}`)),
			})
			if answer.Exit != 1 || !strings.Contains(string(answer.Stdout), `"code":5`) || !strings.Contains(string(answer.Stdout), errBroken.Error()) {
				t.Errorf("answer %s", answer.Stdout)
			}
			if diff := cmp.Diff(before, n.snapshot()); diff != "" {
				t.Errorf("leaked (-before +after)\n%s", diff)
			}
			if left := run(t, "ip", "-n", name(ns), "-br", "link"); strings.Contains(left, "eth0") {
				t.Errorf("left in the pod: %s", left)
			}
		})
	}
}

// TestKernelRest: a freed address rests.
func TestKernelRest(t *testing.T) {
	n := newNode(t)
	p := n.added(nil)
	if err := p.del(); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.view.Self.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.42.3.0/29"), netip.MustParsePrefix("fd42:3::/64")}
	n.mu.Unlock()
	for range 4 {
		if q := n.added(nil); q.ip4 == p.ip4 {
			t.Fatalf("%s was given out while others were free", q.ip4)
		}
	}
	if q := n.added(nil); q.ip4 != p.ip4 {
		t.Errorf("got %s, want %s: it rests, but nothing else is left", q.ip4, p.ip4)
	}
}
