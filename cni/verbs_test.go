// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	stdcmp "cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/shim"
)

// pod is one sandbox as a runtime would have it.
type pod struct {
	n    *node
	rt   *libcni.RuntimeConf
	lib  *libcni.CNIConfig
	list *libcni.NetworkConfigList

	ip4, ip6 netip.Addr
}

// sandbox makes a pod's namespace and what a runtime knows of it.
func (n *node) sandbox(version string, capabilities map[string]any) *pod {
	n.t.Helper()
	ns := newNS(n.t, "pod")
	p := &pod{n: n, rt: &libcni.RuntimeConf{
		ContainerID: name(ns), NetNS: ns, IfName: "eth0", CapabilityArgs: capabilities,
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", name(ns)}},
	}}
	p.lib, p.list = n.cni(version)
	return p
}

// add does ADD and remembers the addresses.
func (p *pod) add() (*current.Result, error) {
	r, err := p.lib.AddNetworkList(p.n.t.Context(), p.list, p.rt)
	if err != nil {
		return nil, err
	}
	if got := r.Version(); got != p.list.CNIVersion {
		return nil, fmt.Errorf("result has version %s, want %s", got, p.list.CNIVersion)
	}
	full, err := current.NewResultFromResult(r)
	if err != nil {
		return nil, err
	}
	for _, ip := range full.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		if a = a.Unmap(); a.Is4() {
			p.ip4 = a
		} else {
			p.ip6 = a
		}
	}
	return full, nil
}

func (p *pod) mustAdd() *pod {
	p.n.t.Helper()
	if _, err := p.add(); err != nil {
		p.n.t.Fatal(err)
	}
	return p
}

func (p *pod) check() error { return p.lib.CheckNetworkList(p.n.t.Context(), p.list, p.rt) }
func (p *pod) del() error {
	return p.lib.DelNetworkList(context.WithoutCancel(p.n.t.Context()), p.list, p.rt)
}

// added makes a pod with ADD.
func (n *node) added(capabilities map[string]any) *pod {
	n.t.Helper()
	return n.sandbox("1.1.0", capabilities).mustAdd()
}

// isCode reports what is wrong unless err is a CNI error of that code.
func isCode(err error, code uint) error {
	if e, ok := errors.AsType[*types.Error](err); !ok || e.Code != code {
		return fmt.Errorf("want CNI code %d: %w", code, stdcmp.Or(err, errors.New("success")))
	}
	return nil
}

func TestKernelVerbs(t *testing.T) {
	for _, version := range shim.Versions {
		t.Run(version, func(t *testing.T) {
			n := newNode(t)
			before := n.snapshot()
			p := n.sandbox(version, map[string]any{
				"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 5353, "containerPort": 53, "protocol": "udp"}},
			})
			r, err := p.add()
			if err != nil {
				t.Fatal(err)
			}
			if len(r.IPs) != 2 || len(r.Routes) != 2 || r.Interfaces[*r.IPs[0].Interface].Sandbox != p.rt.NetNS {
				t.Errorf("result %+v", r)
			}
			if version != "0.3.1" {
				if err := p.check(); err != nil {
					t.Errorf("CHECK: %v", err)
				}
			}
			if steps := n.repair(); steps != 0 {
				t.Errorf("the repair loop made %d steps after ADD", steps)
			}
			if err := p.lib.GetStatusNetworkList(t.Context(), p.list); err != nil {
				t.Errorf("STATUS: %v", err)
			}
			if got := echo(t, n.ns, p.rt.NetNS, "tcp", netip.AddrPortFrom(p.ip4, 80)); got.err != nil {
				t.Errorf("host to pod: %v", got.err)
			}
			for range 2 {
				if err := p.del(); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			if diff := cmp.Diff(before, n.snapshot()); diff != "" {
				t.Errorf("leaked (-before +after)\n%s", diff)
			}
			if len(n.server.Pods()) != 0 {
				t.Errorf("ledger holds %v", n.server.Pods())
			}
		})
	}
}

// TestKernelCheck damages a pod in every way and wants CHECK to see it and a
// repair round to mend it.
func TestKernelCheck(t *testing.T) {
	n := newNode(t)
	p := n.added(map[string]any{"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}}})
	outer := t
	n.repair() // the round after an ADD leaves the pod in peace
	dev := cni.Key{Container: p.rt.ContainerID, IfName: "eth0"}.HostDevice()
	host, inner := name(n.ns), name(p.rt.NetNS)
	for what, damage := range map[string][]string{
		"host route":      {"ip", "-n", host, "route", "del", p.ip4.String()},
		"host route v6":   {"ip", "-n", host, "-6", "route", "del", p.ip6.String()},
		"host neighbour":  {"ip", "-n", host, "neigh", "del", p.ip4.String(), "dev", dev},
		"host device":     {"ip", "-n", host, "link", "del", dev},
		"host MTU":        {"ip", "-n", host, "link", "set", dev, "mtu", "1300"},
		"host down":       {"ip", "-n", host, "link", "set", dev, "down"},
		"pod address":     {"ip", "-n", inner, "addr", "del", p.ip4.String() + "/32", "dev", "eth0"},
		"pod route":       {"ip", "-n", inner, "route", "del", "default"},
		"pod neighbour":   {"ip", "-n", inner, "neigh", "del", "169.254.1.1", "dev", "eth0"},
		"pod down":        {"ip", "-n", inner, "link", "set", "eth0", "down"},
		"pod device":      {"ip", "-n", inner, "link", "del", "eth0"},
		"hostPort":        {"ip", "netns", "exec", host, "nft", "delete", "element", "inet", cni.Table, "any4", "{ tcp . 8080 }"},
		"hostPort's pod":  {"ip", "netns", "exec", host, "nft", "flush map inet " + cni.Table + " any6; add element inet " + cni.Table + " any6 { tcp . 8080 : fd42:3::99 . 80 }"},
		"table":           {"ip", "netns", "exec", host, "nft", "delete", "table", "inet", cni.Table},
		"masquerade rule": {"ip", "netns", "exec", host, "nft", "flush", "chain", "inet", cni.Table, "postrouting"},
		"rp_filter":       {"ip", "netns", "exec", host, "sysctl", "-qw", "net/ipv4/conf/" + dev + "/rp_filter=0"},
	} {
		t.Run(what, func(t *testing.T) {
			n.t = t
			defer func() { n.t = outer }()
			if err := p.check(); err != nil {
				t.Fatalf("before: %v", err)
			}
			run(t, damage...)
			if what != "masquerade rule" { // the node's, not the pod's
				if err := isCode(p.check(), types.ErrIOFailure); err != nil {
					t.Errorf("CHECK after: %v", err)
				}
			}
			if n.repair() == 0 {
				t.Error("nothing to repair")
			}
			if err := p.check(); err != nil {
				t.Errorf("after repair: %v", err)
			}
			if steps := n.repair(); steps != 0 {
				t.Errorf("%d steps after repair", steps)
			}
		})
	}
}

func TestKernelParallel(t *testing.T) {
	n := newNode(t)
	before := n.snapshot()
	pods := make([]*pod, 30)
	for i := range pods {
		pods[i] = n.sandbox("1.1.0", map[string]any{"portMappings": []map[string]any{{"hostPort": 9000 + i, "containerPort": 80, "protocol": "tcp"}}})
	}
	each := func(f func(*pod) error) {
		t.Helper()
		var wg sync.WaitGroup
		turns := make(chan struct{}, 10)
		for _, p := range pods {
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				if err := f(p); err != nil {
					t.Error(err)
				}
			})
		}
		// Repair rounds in between must not disturb.
		for range 5 {
			n.repair()
		}
		wg.Wait()
	}
	each(func(p *pod) error { _, err := p.add(); return err })
	seen := map[netip.Addr]bool{}
	for _, p := range pods {
		if seen[p.ip4] || !p.ip4.IsValid() {
			t.Errorf("address %v twice or none", p.ip4)
		}
		seen[p.ip4] = true
	}
	each(func(p *pod) error { return p.check() })
	each(func(p *pod) error { return p.del() })
	n.repair()
	if diff := cmp.Diff(before, n.snapshot()); diff != "" {
		t.Errorf("leaked (-before +after)\n%s", diff)
	}
}

// TestKernelTwoAddsAtOnce: one of them wins, the other says why not, and the
// pod is whole.
func TestKernelTwoAddsAtOnce(t *testing.T) {
	n := newNode(t)
	before := n.snapshot()
	p := n.sandbox("1.1.0", nil)
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		q := *p
		q.lib, _ = n.cni("1.1.0") // libcni makes its exec on the first call, unguarded
		wg.Go(func() { _, errs[i] = q.add() })
	}
	wg.Wait()
	good := 0
	for _, err := range errs {
		if err == nil {
			good++
		} else if err := isCode(err, types.ErrInvalidEnvironmentVariables); err != nil {
			t.Error(err)
		}
	}
	if good != 1 {
		t.Errorf("%d ADDs succeeded: %v", good, errs)
	}
	if steps := n.repair(); steps != 0 {
		t.Errorf("%d steps to repair", steps)
	}
	if err := p.del(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, n.snapshot()); diff != "" {
		t.Errorf("leaked (-before +after)\n%s", diff)
	}
}

func TestKernelGC(t *testing.T) {
	n := newNode(t)
	keep, lose := n.added(nil), n.added(map[string]any{"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}}})
	err := keep.lib.GCNetworkList(t.Context(), keep.list, &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: keep.rt.ContainerID, IfName: "eth0"}}})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, p := range n.server.Pods() {
		left = append(left, p.Container)
	}
	if !slices.Equal(left, []string{keep.rt.ContainerID}) {
		t.Errorf("left %v", left)
	}
	if s := n.snapshot(); strings.Contains(s, lose.ip4.String()) || !strings.Contains(s, keep.ip4.String()) {
		t.Errorf("kernel after GC:\n%s", s)
	}
	if steps := n.repair(); steps != 0 {
		t.Errorf("%d steps to repair", steps)
	}
}

func TestKernelCapabilities(t *testing.T) {
	n := newNode(t)
	p := n.added(map[string]any{"ips": []string{"10.42.3.77/24"}, "mac": "02:00:00:00:00:77"})
	if p.ip4.String() != "10.42.3.77" {
		t.Errorf("ips: got %s", p.ip4)
	}
	if out := run(t, "ip", "-n", name(p.rt.NetNS), "link", "show", "eth0"); !strings.Contains(out, "02:00:00:00:00:77") {
		t.Errorf("mac: %s", out)
	}
	if got := echo(t, n.ns, p.rt.NetNS, "tcp", netip.AddrPortFrom(p.ip4, 80)); got.err != nil {
		t.Error(got.err)
	}
	p = n.added(map[string]any{"ipRanges": [][]map[string]any{{{"subnet": "10.42.3.128/25", "rangeStart": "10.42.3.200"}}}})
	if p.ip4.String() != "10.42.3.200" {
		t.Errorf("ipRanges: got %s", p.ip4)
	}
}
