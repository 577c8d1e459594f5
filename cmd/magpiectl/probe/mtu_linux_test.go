// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
	"github.com/magpie-edge/magpie/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) } //nolint:forbidigo // how a TestMain ends

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// space is one network namespace, made by its own thread.
type space struct{ do chan func() }

func newSpace(t *testing.T) space {
	t.Helper()
	s := space{make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err == nil {
			// Nobody else is here: no need to ask.
			err = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o600)
		}
		ready <- err
		for f := range s.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(s.do) })
	return s
}

// run executes f inside and fails the test with its error.
func (s space) run(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	s.do <- func() { done <- f() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// end is one end of a cable.
type end struct {
	in    space
	name  string
	addrs []string
	mtu   int
}

// cable joins two namespaces with a veth pair.
func cable(t *testing.T, a, b end) {
	t.Helper()
	var far netns.NsHandle
	b.in.run(t, func() (err error) {
		far, err = netns.Get()
		return err
	})
	defer far.Close()
	a.in.run(t, func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: a.name}, PeerName: b.name, PeerNamespace: netlink.NsFd(far),
		})
	})
	for _, e := range []end{a, b} {
		e.in.run(t, func() error {
			l, err := netlink.LinkByName(e.name)
			if err != nil {
				return err
			}
			for _, text := range e.addrs {
				addr, err := netlink.ParseAddr(text)
				if err != nil {
					return err
				}
				addr.Flags |= syscall.IFA_F_NODAD
				if err := netlink.AddrAdd(l, addr); err != nil {
					return err
				}
			}
			if err := netlink.LinkSetMTU(l, e.mtu); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
	}
	a.await(t)
	b.await(t)
}

// await returns when IPv6 works: a neighbour is asked from the device's
// link-local address, which the kernel adds up to two seconds after the cable
// is in.
func (e end) await(t *testing.T) {
	t.Helper()
	e.in.run(t, func() error {
		l, err := netlink.LinkByName(e.name)
		if err != nil {
			return err
		}
		for range 500 {
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if a.IP.IsLinkLocalUnicast() && a.Flags&syscall.IFA_F_TENTATIVE == 0 {
					return nil
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		return errors.New(e.name + ": no link-local address after 5 s")
	})
}

func (s space) route(t *testing.T, via ...string) {
	t.Helper()
	s.run(t, func() error {
		for _, v := range via {
			gw, err := netlink.ParseAddr(v + "/32")
			if strings.Contains(v, ":") {
				gw, err = netlink.ParseAddr(v + "/128")
			}
			if err != nil {
				return err
			}
			if err := netlink.RouteAdd(&netlink.Route{Gw: gw.IP}); err != nil {
				return fmt.Errorf("route via %s: %w", v, err)
			}
		}
		return nil
	})
}

// path builds client - router - server; the router sends to the server by a
// device with the MTU out, and the server takes in packets up to in.
func path(t *testing.T, out, in int) (client space) {
	t.Helper()
	client, router, server := newSpace(t), newSpace(t), newSpace(t)
	cable(
		t,
		end{client, "eth0", []string{"10.9.1.2/24", "fd09:1::2/64"}, 1500},
		end{router, "left", []string{"10.9.1.1/24", "fd09:1::1/64"}, 1500},
	)
	cable(
		t,
		end{router, "right", []string{"10.9.2.1/24", "fd09:2::1/64"}, out},
		end{server, "eth0", []string{"10.9.2.2/24", "fd09:2::2/64"}, in},
	)
	router.run(t, func() error {
		for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+f, []byte("1"), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
	client.route(t, "10.9.1.1", "fd09:1::1")
	server.route(t, "10.9.2.1", "fd09:2::1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	ready := make(chan error, 2)
	go func() {
		defer close(ended)
		server.do <- func() {
			ready <- probe.Serve(ctx, "", probe.Port, func(int) { ready <- nil })
		}
	}()
	<-ended
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ready; !errors.Is(err, context.Canceled) {
			t.Errorf("serve ended with %v", err)
		}
	})
	return client
}

// TestFullMTU walks packets over a router, both families.
func TestFullMTU(t *testing.T) {
	tests := []struct {
		name        string
		out, in     int
		mtu         int
		blackHole   bool
		least, most int // what passes a black hole
	}{
		{name: "one MTU everywhere", out: 1500, in: 1500, mtu: 1500},
		{name: "less in the middle", out: 1400, in: 1400, mtu: 1400},
		// A veth drops without a word what its receiving end cannot hold: the
		// frame's 14 bytes and 4 for a VLAN tag are its tolerance.
		{name: "black hole", out: 1500, in: 1400, blackHole: true, least: 1400 - 8, most: 1400 + 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := path(t, tt.out, tt.in)
			for _, addr := range []string{"10.9.2.2:4242", "[fd09:2::2]:4242"} {
				client.run(t, func() error {
					mtu, passes, err := probe.FullMTU(t.Context(), addr, 2*time.Second)
					switch {
					case mtu != tt.mtu, (err != nil) != tt.blackHole:
						t.Errorf("%s: mtu %d, passes %d, %v; want %d", addr, mtu, passes, err, tt.mtu)
					case tt.blackHole && (passes < tt.least || passes > tt.most):
						t.Errorf("%s: %d passes, want %d to %d", addr, passes, tt.least, tt.most)
					}
					return nil
				})
			}
		})
	}
}
