// SPDX-License-Identifier: Apache-2.0

package clients_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/test/fence"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/topology"
)

// promised is within what time a change or a repair takes effect.
const promised = time.Second

// fencedShop makes a NodePort Service of the pod.
func fencedShop(t *testing.T, namespace string) {
	t.Helper()
	shop(t, namespace, "till", []string{node}, "nodeport.openyurt.io/listen", "shop-b")
	patchTill(t, namespace, `{"spec":{"type":"NodePort","ports":[{"name":"web","port":80,"nodePort":30080,"protocol":"TCP"},
		{"name":"udp","port":81,"nodePort":30081,"protocol":"UDP"}]}}`)
	s := slice("till", []string{node})
	name, port, proto := "udp", int32(8080), corev1.ProtocolUDP
	s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port, Protocol: &proto})
	if _, err := admin(t).DiscoveryV1().EndpointSlices(namespace).Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// onDisk reports whether a Store has written its Services to dir.
func onDisk(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "services.truth"))
	return err == nil
}

func patchTill(t *testing.T, namespace, patch string) {
	t.Helper()
	if !json.Valid([]byte(patch)) {
		t.Fatal(patch)
	}
	if _, err := admin(t).CoreV1().Services(namespace).Patch(t.Context(), "till", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func listen(value string) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{"nodeport.openyurt.io/listen":%q}}}`, value)
}

// soon is eventually, but for what is promised within a second.
func soon(t *testing.T, what string, check func() error) {
	t.Helper()
	begun := time.Now()
	eventually(t, check)
	if took := time.Since(begun); took > promised {
		t.Errorf("%s: took %v", what, took)
	} else {
		t.Logf("%s: %v", what, took.Round(time.Millisecond))
	}
}

// TestFenceInNFTables: beside a real kube-proxy that reads from the API server
// and writes its NodePort rules, in both of its modes.
func TestFenceInNFTables(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables"} {
		t.Run(mode, func(t *testing.T) { fenceBeside(t, mode) })
	}
}

func fenceBeside(t *testing.T, mode string) {
	t.Helper()
	t.Cleanup(func() { sandbox.Run(t, "nft flush ruleset") }) // kube-proxy leaves its rules
	outside, pod := fence.World(t)
	namespace := "fenced-" + mode
	account(t, namespace, false)
	fencedShop(t, namespace)
	ownNode(t)
	cfg := rest.CopyConfig(server.Config)
	cfg.BearerToken = proxier(t)
	runProxyIn(t, mode, kubeconfig(t, &rest.Config{Host: cfg.Host, BearerToken: cfg.BearerToken, TLSClientConfig: rest.TLSClientConfig{CAFile: cfg.CAFile, CAData: cfg.CAData}}))
	svc, err := admin(t).CoreV1().Services(namespace).Get(t.Context(), "till", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	clusterIP := net.JoinHostPort(svc.Spec.ClusterIP, "80")
	all := func(want string) func() error {
		return func() error {
			for name, f := range map[string]fence.From{"outside": outside, "the node": "", "a pod": pod} {
				if got := f.Calls("10.9.0.1:30080"); got != want {
					return fmt.Errorf("from %s: TCP NodePort %s, want %s", name, got, want)
				}
				got := f.Asks("10.9.0.1:30081")
				if name == "the node" && got == "not permitted" {
					got = "refused"
				}
				if got != want {
					return fmt.Errorf("from %s: UDP NodePort %s, want %s", name, got, want)
				}
			}
			return nil
		}
	}
	eventually(t, all("open")) // without a fence
	others := foreign(t)
	eventually(t, func() error { // kube-proxy makes its tables of the two families one after the other
		before := others
		time.Sleep(500 * time.Millisecond)
		if others = foreign(t); others != before {
			return errors.New("kube-proxy goes on making tables")
		}
		return nil
	})

	dir := t.TempDir()
	f := fence.NewFencer("shop-a")
	line := newLine(t)
	cfg = rest.CopyConfig(server.Config)
	cfg.Host = line.host
	_, stop := f.Begin(t, cfg, dir)
	eventually(t, all("refused"))
	for name, f := range map[string]fence.From{"the node": "", "a pod": pod, "outside": outside} {
		if got := f.Calls(clusterIP); got != "open" {
			t.Errorf("from %s: ClusterIP %s", name, got)
		}
	}
	if now := foreign(t); now != others {
		t.Errorf("other tables changed\n%s\n%s", others, now)
	}

	patchTill(t, namespace, listen("shop-a"))
	soon(t, "opened by annotation", all("open"))
	patchTill(t, namespace, listen("-shop-a,*"))
	soon(t, "closed by annotation", all("refused"))
	f.Set("shop-c", true)
	soon(t, "opened by another pool", all("open"))
	f.Set("shop-a", true)
	soon(t, "closed by another pool", all("refused"))
	sandbox.Run(t, "nft delete table inet magpie-fence")
	soon(t, "repaired", all("refused"))

	eventually(t, func() error { // written, for the start without a line
		if !onDisk(dir) {
			return errors.New("services are not on disk")
		}
		return nil
	})
	stop()
	line.cut()
	if err := all("refused")(); err != nil {
		t.Errorf("while no agent runs: %v", err)
	}
	_, stop = f.Begin(t, cfg, dir)
	end := time.Now().Add(4 * time.Second) // longer than the API server's silence is waited for
	for time.Now().Before(end) {
		if err := all("refused")(); err != nil {
			t.Fatalf("restarted without a line: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	sandbox.Run(t, "nft delete table inet magpie-fence")
	soon(t, "repaired without a line", all("refused"))
	f.Set("shop-a", false)
	soon(t, "switched off", all("open"))
	if out, err := exec.CommandContext(t.Context(), "nft", "list", "table", "inet", "magpie-fence").CombinedOutput(); err == nil {
		t.Errorf("switched off, the table is still there: %s", out)
	}
	stop()
}

// foreign are the names of all tables but ours.
func foreign(t *testing.T) string {
	t.Helper()
	var out []string
	for l := range strings.Lines(sandbox.Run(t, "nft list tables")) {
		if !strings.Contains(l, topology.Table) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "")
}

// TestFenceFlapping: a Service that changes a hundred times a second costs
// bounded work, and what it says last holds within a second.
func TestFenceFlapping(t *testing.T) {
	t.Cleanup(func() { sandbox.Run(t, "nft flush ruleset") })
	f := fence.NewFencer("shop-a")
	account(t, "flapping", false)
	shop(t, "flapping", "till", nil, "nodeport.openyurt.io/listen", "shop-b")
	patchTill(t, "flapping", `{"spec":{"type":"NodePort","ports":[{"name":"web","port":80,"nodePort":30090,"protocol":"TCP"}]}}`)
	f.Begin(t, server.Config, t.TempDir())
	closed := func(want bool) func() error {
		return func() error {
			out, err := exec.CommandContext(t.Context(), "nft", "list", "set", "inet", "magpie-fence", "closed").CombinedOutput()
			if got := strings.Contains(string(out), "30090"); err != nil || got != want {
				return fmt.Errorf("closed: %v, want %v: %w", got, want, err)
			}
			return nil
		}
	}
	eventually(t, closed(true))
	f.Rounds.Store(0)
	begun := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	changes := 0
	for ; time.Since(begun) < 3*time.Second; changes++ {
		<-tick.C
		patchTill(t, "flapping", listen([]string{"shop-a", "shop-b"}[changes%2]))
	}
	took := time.Since(begun)
	rounds := f.Rounds.Load()
	t.Logf("%d changes in %v: %d rounds", changes, took.Round(time.Millisecond), rounds)
	if most := int64(took/(50*time.Millisecond)) + 2; rounds > most {
		t.Errorf("%d rounds, at most %d are allowed", rounds, most)
	}
	patchTill(t, "flapping", listen("shop-a"))
	soon(t, "the last word", closed(false))
}
