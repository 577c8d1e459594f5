// SPDX-License-Identifier: Apache-2.0

package fence_test

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/fence"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/topology"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) } //nolint:forbidigo // how a TestMain ends

// TestFenceAtTheNode: whoever listens, a closed port answers as one on which
// nobody does, in both families; all else of the node goes on.
func TestFenceAtTheNode(t *testing.T) {
	outside, pod := fence.World(t)
	sandbox.Run(t, "ip address add 10.96.0.7/32 dev lan") // a ClusterIP, as IPVS has it
	for _, addr := range []string{":30080", ":30082"} {
		sandbox.Echo(t, "/proc/thread-self/ns/net", addr)
	}
	host, err := kernel.Open(kernel.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	world := host.Own(topology.Owner)
	apply := func(want plan.Plan) (steps int) {
		t.Helper()
		have, err := world.Observe(t.Context())
		if err == nil {
			steps, err = world.Apply(t.Context(), have, want)
		}
		if err != nil {
			t.Fatal(err)
		}
		return steps
	}
	view := fence.NewFencer("shop-a").View()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"nodeport.openyurt.io/listen": "shop-b"}}}
	svc.Spec.ClusterIPs = []string{"10.96.0.7"}
	svc.Spec.Ports = []corev1.ServicePort{
		{Port: 30080, NodePort: 30080},
		{Protocol: "UDP", Port: 1, NodePort: 30080},
		{Protocol: "SCTP", Port: 2, NodePort: 30080},
		{Port: 3, NodePort: 30084},
	}
	want := topology.Close(view, []*corev1.Service{svc})
	check := func(closed string) {
		t.Helper()
		for name, f := range map[string]fence.From{"outside": outside, "the node": "", "a pod": pod} {
			addrs := map[string]string{
				"10.9.0.1:30080": closed, "10.42.1.254:30080": closed, "[fd09::1]:30080": closed,
				"10.9.0.1:30082": "open", "[fd09::1]:30082": "open",
			}
			if name == "the node" {
				addrs["127.0.0.1:30080"], addrs["[::1]:30080"] = closed, closed
			}
			if name == "a pod" {
				delete(addrs, "[fd09::1]:30080")
				delete(addrs, "[fd09::1]:30082")
				addrs["[fd42::fe]:30080"] = closed
			}
			for addr, want := range addrs {
				if got := f.Calls(addr); got != want {
					t.Errorf("TCP from %s to %s: %s, want %s", name, addr, got, want)
				}
				if far(name, addr) {
					continue // the echo answers UDP from the nearest address
				}
				if want == "refused" && name == "the node" {
					want = "not permitted" // so the output hook tells a sender
				}
				if got := f.Asks(addr); got != want {
					t.Errorf("UDP from %s to %s: %s, want %s", name, addr, got, want)
				}
			}
			if got := f.Calls("10.96.0.7:30080"); got != "open" {
				t.Errorf("from %s: ClusterIP of that number: %s", name, got)
			}
		}
	}
	check("open")
	if steps := apply(want); steps == 0 {
		t.Fatal("nothing was written")
	}
	if steps := apply(want); steps != 0 {
		t.Errorf("a second time: %d steps", steps)
	}
	check("refused")
	// A flow of the node's own that has come by the number of a closed port.
	if err := callFrom(t, 30084, "10.9.0.2:7777", string(outside)); err != nil {
		t.Errorf("an answer is taken for a call: %v", err)
	}
	apply(plan.Plan{})
	check("open")
}

// far reports whether an address of the node is not the one nearest to who asks.
func far(name, addr string) bool {
	return name == "outside" && strings.HasPrefix(addr, "10.42.") || name == "a pod" && strings.HasPrefix(addr, "10.9.")
}

// callFrom calls addr in the namespace there from a port of the node itself.
func callFrom(t *testing.T, port int, addr, there string) error {
	t.Helper()
	sandbox.Echo(t, there, addr)
	d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}, Timeout: 2 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
	}}
	c, err := d.DialContext(t.Context(), "tcp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, 1)
	if _, err = c.Write([]byte("x")); err == nil {
		_, err = c.Read(buf)
	}
	return err
}
