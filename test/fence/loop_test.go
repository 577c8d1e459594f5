// SPDX-License-Identifier: Apache-2.0

package fence_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/test/fence"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// rulesOfProxies translate calls to NodePort 30080 where kube-proxy does, as
// it does in its two modes. test/hub/clients has kube-proxy itself.
var rulesOfProxies = map[string]string{
	"nftables": `
nft add table ip proxy
nft add chain ip proxy pre { type nat hook prerouting priority -100 ; }
nft add chain ip proxy out { type nat hook output priority -100 ; }
nft add chain ip proxy post { type nat hook postrouting priority 100 ; }
nft add rule ip proxy pre fib daddr type local tcp dport 30080 dnat to 10.42.1.1:8080
nft add rule ip proxy out fib daddr type local tcp dport 30080 dnat to 10.42.1.1:8080
nft add rule ip proxy post ip daddr 10.42.1.1 masquerade
`,
	"iptables": `
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 30080 -j DNAT --to-destination 10.42.1.1:8080
iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL -p tcp --dport 30080 -j DNAT --to-destination 10.42.1.1:8080
iptables -t nat -A POSTROUTING -d 10.42.1.1 -j MASQUERADE
`,
}

func till(list string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "till", Annotations: map[string]string{"nodeport.openyurt.io/listen": list},
	}}
	s.Spec.ClusterIPs = []string{"10.96.0.7"}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, NodePort: 30080}}
	return s
}

func put(t *testing.T, s *hub.Store, services ...any) {
	t.Helper()
	if err := s.Into(hub.Services).Replace(services, "7"); err != nil {
		t.Fatal(err)
	}
}

// soon waits until something is so, which must be within a second.
func soon(t *testing.T, what string, check func() error) {
	t.Helper()
	begun := time.Now()
	for err := check(); err != nil; err = check() {
		if time.Since(begun) > time.Second {
			t.Fatalf("%s, not within a second: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("%s: %v", what, time.Since(begun).Round(time.Millisecond))
}

// TestFenceBeforeNAT: no translation comes before the fence, a change takes
// effect and a deleted table comes back within a second, and the rules of
// others stay.
func TestFenceBeforeNAT(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			outside, pod := fence.World(t)
			sandbox.Run(t, rulesOfProxies[mode])
			t.Cleanup(func() { sandbox.Run(t, "nft flush ruleset") })
			all := func(want string) func() error {
				return func() error {
					for name, from := range map[string]fence.From{"outside": outside, "the node": "", "a pod": pod} {
						if got := from.Calls("10.9.0.1:30080"); got != want {
							return fmt.Errorf("from %s: %s, want %s", name, got, want)
						}
					}
					return nil
				}
			}
			soon(t, "open without a fence", all("open"))
			others := sandbox.Run(t, "nft -s list ruleset")
			f := fence.NewFencer("shop-a")
			store, stop := f.Begin(t, nil, t.TempDir())
			put(t, store, till("shop-b"))
			soon(t, "closed", all("refused"))
			put(t, store, till("shop-a"))
			soon(t, "opened by annotation", all("open"))
			put(t, store, till("-shop-a,*"))
			soon(t, "closed by annotation", all("refused"))
			f.Set("shop-c", true)
			soon(t, "opened by another pool", all("open"))
			f.Set("shop-a", true)
			soon(t, "closed by another pool", all("refused"))
			sandbox.Run(t, "nft delete table inet magpie-fence")
			soon(t, "repaired", all("refused"))

			stop() // and an agent that knows of no Service yet
			store, stop = f.Begin(t, nil, t.TempDir())
			for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
				if err := all("refused")(); err != nil {
					t.Fatalf("before a list: %v", err)
				}
			}
			put(t, store, till("shop-b"))
			f.Set("shop-a", false)
			soon(t, "switched off", all("open"))
			stop()
			if now := sandbox.Run(t, "nft -s list ruleset"); now != others {
				t.Errorf("not as before\n%s\n%s", others, now)
			}
		})
	}
}

// TestFenceFlapping: a Service that changes a hundred times a second among
// thousands costs bounded work, and its last word holds within a second.
func TestFenceFlapping(t *testing.T) {
	f := fence.NewFencer("shop-a")
	store, _ := f.Begin(t, nil, t.TempDir())
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "magpie-fence").Run() }) //nolint:noctx // short
	list := []any{till("shop-b")}
	for i := range 4999 {
		s := till("shop-b")
		s.Name = fmt.Sprint("s", i)
		s.Spec.Ports[0].NodePort = int32(20000 + i)
		list = append(list, s)
	}
	put(t, store, list...)
	closed := func(want int) func() error {
		return func() error {
			out, err := exec.CommandContext(t.Context(), "nft", "list", "set", "inet", "magpie-fence", "closed").CombinedOutput()
			if got := strings.Count(string(out), "tcp . "); got != want {
				return fmt.Errorf("%d ports closed, want %d: %w", got, want, err)
			}
			return nil
		}
	}
	soon(t, "5,000 ports closed", closed(5000))
	f.Rounds.Store(0)
	begun := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	changes := 0
	for ; time.Since(begun) < 2*time.Second; changes++ {
		<-tick.C
		if err := store.Into(hub.Services).Update(till([]string{"shop-a", "shop-b"}[changes%2])); err != nil {
			t.Fatal(err)
		}
	}
	took, rounds := time.Since(begun), f.Rounds.Load()
	t.Logf("%d changes in %v made %d rounds", changes, took.Round(time.Millisecond), rounds)
	if most := int64(took/(50*time.Millisecond)) + 2; rounds > most {
		t.Errorf("%d rounds, at most %d", rounds, most)
	}
	if err := store.Into(hub.Services).Update(till("shop-a")); err != nil {
		t.Fatal(err)
	}
	soon(t, "the last word", closed(4999))
}
