// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/magpie-edge/magpie/test/apiserver"
)

var server *apiserver.Server

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) } //nolint:forbidigo // how a TestMain ends

var (
	gateways = schema.GroupVersionResource{Group: "raven.openyurt.io", Version: "v1beta1", Resource: "gateways"}
	pools    = schema.GroupVersionResource{Group: "apps.openyurt.io", Version: "v1beta2", Resource: "nodepools"}
	sliceRes = schema.GroupVersionResource{Group: "net.magpie.dev", Version: "v1alpha1", Resource: "domainslices"}
	reports  = schema.GroupVersionResource{Group: "net.magpie.dev", Version: "v1alpha1", Resource: "linkreports"}
)

// build compiles the command as it is shipped.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "magpie-manager")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// namespace is where the chart is installed.
const namespace = "magpie-system"

// kubeconfig installs the rights that the chart gives the manager and writes a
// kubeconfig with a token of its account: a right that is missing fails here.
func kubeconfig(t *testing.T) string {
	t.Helper()
	ns := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n---\n"
	if err := server.ApplyYAML(t.Context(), ns+apiserver.Chart(t, namespace, "manager/rbac.yaml", "manager/authority.yaml", "policies/pools.yaml")); err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	token, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "magpie-manager",
		&authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["x"] = &clientcmdapi.Cluster{Server: server.Config.Host, CertificateAuthority: server.Config.CAFile}
	c.AuthInfos["x"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	c.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// log is what the process prints; the test may read while it writes.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// replica runs the command until the test ends or stop is called.
func replica(t *testing.T, binary, kube string) (listen string, out *log, stop func()) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen = l.Addr().String()
	l.Close()
	config := filepath.Join(t.TempDir(), "manager.yaml")
	text := fmt.Sprintf("logLevel: info\nlisten: %s\nnamespace: %s\nkubeconfig: %s\n", listen, namespace, kube)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "run", "--config", config)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	out = &log{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("manager at %s:\n%s", listen, out)
		}
	})
	return listen, out, stop
}

func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func ask(t *testing.T, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

func newNode(t *testing.T, name, pool, cidr string) {
	t.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if pool != "" {
		n.Labels = map[string]string{"apps.openyurt.io/nodepool": pool}
	}
	n.Spec.PodCIDR, n.Spec.PodCIDRs = cidr, []string{cidr}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.1.11"}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if _, err := c.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func get(r schema.GroupVersionResource, name string) (*unstructured.Unstructured, error) {
	return apiserver.Dynamic(server.Config).Resource(r).Get(context.Background(), name, metav1.GetOptions{})
}

// TestManager runs two replicas of the command as it is shipped against a real
// API server and follows a shop from its first node to the loss of the leader.
func TestManager(t *testing.T) {
	binary, kube := build(t), kubeconfig(t)
	listen, first, stopFirst := replica(t, binary, kube)
	eventually(t, 30*time.Second, func() error { _, err := ask(t, "http://"+listen+"/readyz"); return err })
	eventually(t, 30*time.Second, func() error { // the leader has begun
		text, err := ask(t, "http://"+listen+"/metrics")
		if err == nil && !strings.Contains(text, `magpie_loop_rounds_total{loop="slices",result="ok"}`) {
			err = fmt.Errorf("no round yet")
		}
		return err
	})

	pool := `{apiVersion: apps.openyurt.io/v1beta2, kind: NodePool, metadata: {name: shop-a}, spec: {type: Edge,
		labels: {tier: silver}, taints: [{key: shop, effect: NoSchedule}], enableLeaderElection: true}}`
	if err := server.ApplyYAML(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error { _, err := get(gateways, "gw-shop-a"); return err })
	measureJoin(t)
	newNode(t, "cloud-1", "", "10.42.200.0/24")
	checkShop(t)
	checkMember(t)
	checkNotes(t, listen)
	checkTunnels(t)

	_, second, _ := replica(t, binary, kube)
	eventually(t, 30*time.Second, func() error { return contains(second.String(), "manager starts") })
	quietRounds(t)
	stopFirst()
	if strings.Contains(first.String(), "orbidden") || strings.Contains(first.String(), "round is repeated") {
		t.Errorf("a round failed:\n%s", first)
	}
	begin := time.Now()
	newNode(t, "a-99", "shop-a", "10.42.99.0/24")
	eventually(t, 30*time.Second, func() error { return listed("gw-shop-a-0", "a-99") })
	t.Logf("leader stopped to its successor's first slice: %s", time.Since(begin))
}

func contains(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("%q is not in the text", part)
	}
	return nil
}

func listed(slice, node string) error {
	u, err := get(sliceRes, slice)
	if err != nil {
		return err
	}
	return contains(fmt.Sprint(u.Object["spec"]), node)
}

// measureJoin lets nodes join one by one and takes the time from Node created
// to slice written.
func measureJoin(t *testing.T) {
	t.Helper()
	var took []time.Duration
	for i := range 9 {
		time.Sleep(150 * time.Millisecond) // let the loops come to rest
		name := fmt.Sprintf("a-%d", i)
		begin := time.Now()
		newNode(t, name, "shop-a", fmt.Sprintf("10.42.%d.0/24", i))
		eventually(t, 5*time.Second, func() error { return listed("gw-shop-a-0", name) })
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("Node created to slice written: median %s, worst %s", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 200*time.Millisecond {
		t.Errorf("a node that joins waits %s for its slice", took[len(took)/2])
	}
}

// checkShop publishes a link key and expects the gateway that has it in the
// slice and in both statuses.
func checkShop(t *testing.T) {
	t.Helper()
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	report := `{apiVersion: net.magpie.dev/v1alpha1, kind: LinkReport, metadata: {name: a-1}, spec: {publicKey: "` + key + `", mtu: 1420}}`
	if err := server.ApplyYAML(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error {
		u, err := get(gateways, "gw-shop-a")
		if err != nil {
			return err
		}
		active, _, err := unstructured.NestedSlice(u.Object, "status", "activeEndpoints")
		if err != nil || len(active) != 1 || active[0].(map[string]any)["nodeName"] != "a-1" {
			return fmt.Errorf("active endpoints %v, want a-1: %w", active, err)
		}
		return listed("gw-shop-a-0", key)
	})
	eventually(t, 5*time.Second, func() error {
		u, err := get(pools, "shop-a")
		if err != nil {
			return err
		}
		if n, _, err := unstructured.NestedInt64(u.Object, "status", "readyNodeNum"); err != nil || n != 9 {
			return fmt.Errorf("readyNodeNum %d, want 9: %w", n, err)
		}
		return nil
	})
}

// checkMember expects on a node what its pool gives, with the rights of the
// chart.
func checkMember(t *testing.T) {
	t.Helper()
	nodes := schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	eventually(t, 5*time.Second, func() error {
		n, err := get(nodes, "a-1")
		if err != nil {
			return err
		}
		l := n.GetLabels()
		if l["tier"] != "silver" || l["nodepool.openyurt.io/type"] != "edge" {
			return fmt.Errorf("labels %v", l)
		}
		return contains(fmt.Sprint(n.Object["spec"]), "shop")
	})
}

// checkTunnels gives magpie-gateway a load balancer, and expects its address in
// what all agents read.
func checkTunnels(t *testing.T) {
	t.Helper()
	service := `{apiVersion: v1, kind: Service, metadata: {name: magpie-gateway, namespace: ` + namespace + `},
		spec: {type: LoadBalancer, ports: [{name: agents, port: 443}]}}`
	if err := server.ApplyYAML(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	services := kube.CoreV1().Services(namespace)
	balanced, err := services.Get(t.Context(), "magpie-gateway", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	balanced.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.80"}}
	if _, err := services.UpdateStatus(t.Context(), balanced, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error { return listed("gw-cloud-0", "203.0.113.80:443") })
}

// checkNotes expects the cloud's missing address as an event and a metric.
func checkNotes(t *testing.T, listen string) {
	t.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() error {
		list, err := c.EventsV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		said := ""
		for _, e := range list.Items {
			said += e.Regarding.Kind + " " + e.Regarding.Name + " " + e.Reason + "\n"
		}
		if err := contains(said, "Gateway gw-cloud GatewayWithoutAddress"); err != nil {
			return err
		}
		if err := contains(said, "NodePool shop-a PoolLeadersUnused"); err != nil {
			return err
		}
		return contains(said, "Gateway gw-shop-a ActiveEndpointElected")
	})
	text, err := ask(t, "http://"+listen+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if err := contains(text, `magpie_plan_notes{code="gateway-without-address",loop="slices"} 1`); err != nil {
		t.Errorf("metrics: %v", err)
	}
}

// quietRounds expects that nothing is written while nothing changes, whichever
// events wake the loops.
func quietRounds(t *testing.T) {
	t.Helper()
	versions := func() string {
		var b strings.Builder
		for _, r := range []schema.GroupVersionResource{gateways, pools, sliceRes, reports} {
			list, err := apiserver.Dynamic(server.Config).Resource(r).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range list.Items {
				fmt.Fprintln(&b, r.Resource, u.GetName(), u.GetResourceVersion())
			}
		}
		return b.String()
	}
	time.Sleep(300 * time.Millisecond)
	before := versions()
	unrelated := `{apiVersion: v1, kind: ConfigMap, metadata: {name: raven-cfg, namespace: kube-system}, data: {eip-id: x}}`
	if err := server.ApplyYAML(t.Context(), unrelated); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if after := versions(); after != before {
		t.Errorf("objects were written although nothing changed, before:\n%s\nafter:\n%s", before, after)
	}
}

func TestCRDs(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), build(t), "crds").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.ApplyYAML(t.Context(), string(out)); err != nil {
		t.Errorf("what crds prints cannot be applied: %v", err)
	}
	if n := strings.Count(string(out), "kind: CustomResourceDefinition"); n != 4 {
		t.Errorf("%d definitions, want 4", n)
	}
}

func TestConfig(t *testing.T) {
	config := filepath.Join(t.TempDir(), "manager.yaml")
	text := "logLevel: loud\nlisten: nowhere\nvni: 0\nevery: 1s\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), build(t), "run", "--config", config)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("started with a wrong config:\n%s", out)
	}
	for _, field := range []string{"logLevel", "listen", "vni", "every", "namespace"} {
		if err := contains(string(out), field+": "); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
	}
}
