// SPDX-License-Identifier: Apache-2.0

//go:build flannel

package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/test/lab/fetch"
	"github.com/magpie-edge/magpie/test/sandbox"
	"github.com/magpie-edge/magpie/vxlan"
)

// patience is how long flanneld may take for what a Node says.
const patience = 20 * time.Second

// TestFlanneld is a cluster that moves from Flannel to us node by node: the real
// flanneld and a real API server, our planners and our door. Pods of the two
// nodes reach each other while one runs flanneld; a connection lives on when that
// node becomes ours, and when it becomes Flannel's again.
func TestFlanneld(t *testing.T) {
	server, err := apiserver.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	oursNS := underlay(t)
	c := &mixed{t: t, admin: must(kubernetes.NewForConfig(server.Config))}
	c.node("ours", "10.42.1.0/24", "fd42:0:0:1::/64", "192.168.50.1", "fd50::1")
	c.node("theirs", "10.42.2.0/24", "fd42:0:0:2::/64", "192.168.50.2", "fd50::2")
	ours := open(t, oursNS)
	c.publish(c.view("ours", ours))

	stop := c.flanneld(server)
	within(t, func() error {
		has := c.get("theirs").Annotations
		if has[api.FlannelBackendData] == "" || has[api.FlannelBackendV6Data] == "" {
			return fmt.Errorf("flanneld has not published itself: %v", has)
		}
		return nil
	})
	theirs := bridged(t)
	pod := magpie(t, oursNS, c.view("ours", ours))
	c.routed()
	exchange(t, pod, theirs)

	t.Run("the node becomes ours", func(t *testing.T) {
		conn := talk(t, pod, theirs, "10.42.2.5:8000")
		before := c.get("theirs").Annotations[api.FlannelBackendData]
		stop()
		host := open(t, "/run/netns/theirs")
		v := c.view("theirs", host)
		apply(t, host, vxlan.Owner, must(vxlan.Plan(v)))
		apply(t, host, cni.Owner, cni.Masquerade(v))
		c.publish(v)
		if after := c.get("theirs").Annotations[api.FlannelBackendData]; after != before {
			t.Errorf("published %s, flanneld had published %s", after, before)
		}
		if links := sandbox.Run(t, "ip -n theirs -o link"); strings.Contains(links, "flannel") || !strings.Contains(links, api.DeviceVXLAN4) {
			t.Errorf("flanneld's devices were not taken over:\n%s", links)
		}
		conn.say(t)
	})
	t.Run("and Flannel's again", func(t *testing.T) {
		conn := talk(t, pod, theirs, "[fd42:0:0:2::5]:8000")
		host := open(t, "/run/netns/theirs")
		for _, owner := range []plan.Owner{vxlan.Owner, cni.Owner} {
			apply(t, host, owner, plan.Plan{})
		}
		c.flanneld(server)
		c.routed()
		apply(t, ours, vxlan.Owner, must(vxlan.Plan(c.view("ours", ours))))
		conn.say(t)
	})
}

// mixed is a cluster of which one node runs flanneld.
type mixed struct {
	t     *testing.T
	admin kubernetes.Interface
}

func (c *mixed) node(name, cidr4, cidr6, addr4, addr6 string) {
	c.t.Helper()
	// flanneld 0.28 panics over a Node without any annotation; the kubelet writes one.
	has := map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: has}, Spec: corev1.NodeSpec{PodCIDR: cidr4, PodCIDRs: []string{cidr4, cidr6}}}
	n = must(c.admin.CoreV1().Nodes().Create(c.t.Context(), n, metav1.CreateOptions{}))
	for _, a := range []string{addr4, addr6} {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	must(c.admin.CoreV1().Nodes().UpdateStatus(c.t.Context(), n, metav1.UpdateOptions{}))
}

func (c *mixed) get(name string) *corev1.Node {
	c.t.Helper()
	return must(c.admin.CoreV1().Nodes().Get(c.t.Context(), name, metav1.GetOptions{}))
}

// view is what the agent of a node knows: the Nodes as the manager makes
// DomainSlices of them, and its host.
func (c *mixed) view(node string, host *kernel.Host) fleet.View {
	c.t.Helper()
	in := fleet.Cluster{Nodes: []*corev1.Node{c.get("ours"), c.get("theirs")}}
	objects := fleet.Objects{Node: c.get(node)}
	for _, m := range must(nodepool.Slices(in, api.VNI)).Manifests {
		var s v1alpha1.DomainSlice
		if err := json.Unmarshal([]byte(m.JSON), &s); err != nil {
			c.t.Fatal(err)
		}
		objects.Slices = append(objects.Slices, s)
	}
	var addrs []netip.Addr
	for _, a := range objects.Node.Status.Addresses {
		addrs = append(addrs, netip.MustParseAddr(a.Address))
	}
	is := fleet.Host{Now: time.Now()}
	is.Underlay4 = fleet.Underlay(must(host.Underlay(false, addrs)))
	is.Underlay6 = fleet.Underlay(must(host.Underlay(true, addrs)))
	is.VTEPMAC, is.VTEPMAC6 = must(host.MAC("flannel.1")), must(host.MAC("flannel-v6.1"))
	v, problems, err := fleet.Build(objects, is, view().Settings)
	if err != nil || len(problems) > 0 {
		c.t.Fatal(problems, err)
	}
	return v
}

// routed waits until flanneld has routes to our node.
func (c *mixed) routed() {
	c.t.Helper()
	within(c.t, func() error {
		have := sandbox.Run(c.t, "ip -n theirs -4 route\nip -n theirs -6 route")
		for _, want := range []string{"10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink", "fd42:0:0:1::/64 via fd42:0:0:1:: dev flannel-v6.1"} {
			if !strings.Contains(have, want) {
				return fmt.Errorf("flanneld has no route %q:\n%s", want, have)
			}
		}
		return nil
	})
}

// publish writes what an agent writes into its Node, for flanneld to read.
func (c *mixed) publish(v fleet.View) {
	c.t.Helper()
	patch := must(json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": vxlan.Annotations(v, c.get(v.Self.Node).Annotations),
	}}))
	must(c.admin.CoreV1().Nodes().Patch(c.t.Context(), v.Self.Node, types.MergePatchType, patch, metav1.PatchOptions{}, "status"))
}

// flanneld runs the real one on node "theirs".
func (c *mixed) flanneld(server *apiserver.Server) (stop func()) {
	c.t.Helper()
	cache := must(os.UserCacheDir())
	binary := fetch.Peers()[0].File(filepath.Join(cache, "magpie"))
	dir := c.t.TempDir()
	port := c.lead(server.Config.Host)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
		return path
	}
	kubeconfig := must(clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {
			Server: "https://127.0.0.1:" + port, CertificateAuthority: server.Config.CAFile,
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: server.Config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}))
	cmd := exec.Command("ip", "netns", "exec", "theirs", binary, //nolint:noctx // stop ends it
		"--kube-subnet-mgr", "--kubeconfig-file="+write("kubeconfig", string(kubeconfig)), "--iface=eth0",
		"--net-config-path="+write("net-conf.json", `{"Network": "10.42.0.0/16", "EnableIPv6": true, "IPv6Network": "fd42::/48",
			"Backend": {"Type": "vxlan"}}`),
		"--subnet-file="+filepath.Join(dir, "subnet.env"))
	log := must(os.Create(filepath.Join(dir, "flanneld.log")))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "NODE_NAME=theirs")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
	c.t.Cleanup(func() {
		stop()
		if c.t.Failed() {
			c.t.Logf("flanneld said:\n%s", must(os.ReadFile(log.Name())))
		}
	})
	return stop
}

// lead makes the API server reachable from node "theirs", at a port of its own
// loopback address.
func (c *mixed) lead(to string) (port string) {
	c.t.Helper()
	l := must(sandbox.At("/run/netns/theirs", func() (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(c.t.Context(), "tcp", "127.0.0.1:0")
	}))
	c.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(to, "https://")) //nolint:noctx // local
			if err != nil {
				near.Close()
				continue
			}
			join := func(a, b net.Conn) { _, _ = io.Copy(a, b); a.Close() }
			go join(near, far)
			go join(far, near)
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// conversation is a connection between two pods.
type conversation struct{ net.Conn }

func talk(t *testing.T, from, to, addr string) conversation {
	t.Helper()
	sandbox.Echo(t, to, addr)
	conn := must(sandbox.At(from, func() (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}))
	t.Cleanup(func() { conn.Close() })
	c := conversation{conn}
	c.say(t)
	return c
}

// say sends and wants the same back.
func (c conversation) say(t *testing.T) {
	t.Helper()
	const words = "still there?"
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, words); err != nil {
		t.Fatal(err)
	}
	heard := make([]byte, len(words))
	if _, err := io.ReadFull(c, heard); err != nil {
		t.Fatalf("the connection is lost: %v", err)
	}
}

func open(t *testing.T, ns string) *kernel.Host {
	t.Helper()
	host := must(kernel.Open(kernel.Options{Namespace: ns}))
	t.Cleanup(func() { host.Close() })
	return host
}

func within(t *testing.T, f func() error) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
