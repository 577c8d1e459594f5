// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/test/apiserver"
)

const root = "../.."

var server *apiserver.Server

func TestMain(m *testing.M) {
	status := apiserver.Main(m, &server)
	if server != nil { // else nothing ran
		if exe, err := magpiectl(); err == nil {
			_ = os.RemoveAll(filepath.Dir(exe))
		}
	}
	os.Exit(status) //nolint:forbidigo // how a TestMain ends
}

// magpiectl is the program under test, built once.
var magpiectl = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "magpiectl-")
	if err != nil {
		return "", err
	}
	exe := filepath.Join(dir, "magpiectl")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", exe, "./cmd/magpiectl")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build magpiectl: %w\n%s", err, out)
	}
	return exe, nil
})

// bench is a cluster with a DNS Service and a pool, and an operator.
type bench struct {
	exe, kubeconfig string
	admin           *kubernetes.Clientset
}

func newBench(t *testing.T) *bench {
	t.Helper()
	exe, err := magpiectl()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{exe: exe, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c,
 clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}],
 users: [{name: u, user: {token: %q}}], contexts: [{name: c, context: {cluster: c, user: u}}]}`,
		server.Config.Host, server.Config.CAFile, server.Config.BearerToken)
	if err := os.WriteFile(b.kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if b.admin, err = kubernetes.NewForConfig(server.Config); err != nil {
		t.Fatal(err)
	}
	if err := server.ApplyYAML(t.Context(), `
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {clusterIP: 10.96.0.10, ports: [{port: 53, protocol: UDP}]}
---
apiVersion: apps.openyurt.io/v1beta2
kind: NodePool
metadata: {name: shop-a}
spec: {type: Edge}
---
apiVersion: apps.openyurt.io/v1beta2
kind: NodePool
metadata: {name: vpc}
spec: {type: Cloud}
`); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) ctl(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.exe, append(args, "--kubeconfig", b.kubeconfig)...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// far is an address of the API server that is not this machine's loopback.
const far = "https://203.0.113.10:6443"

func constant(t *testing.T, script, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^(?:readonly )?` + name + `='([^']*)'$`).FindStringSubmatch(script)
	if m == nil {
		t.Fatalf("the script has no constant %s", name)
	}
	return m[1]
}

func TestJoinPrintsAScript(t *testing.T) {
	b := newBench(t)
	script, messages, err := b.ctl(t, "join", "--pool", "shop-a", "--api-server", far, "--ttl", "2h")
	if err != nil {
		t.Fatalf("%v\n%s", err, messages)
	}
	ns, err := b.admin.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"POOL": "shop-a", "API_SERVER": far, "CLUSTER": string(ns.UID), "CLUSTER_DNS": "10.96.0.10",
		"NODE_LABELS": "apps.openyurt.io/nodepool=shop-a,openyurt.io/is-edge-worker=true",
	} {
		if got := constant(t, script, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	token := constant(t, script, "TOKEN")
	if strings.Contains(messages, token[7:]) {
		t.Error("the token is in the messages")
	}
	secret, err := b.admin.CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-"+token[:6], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ends, err := time.Parse(time.RFC3339, string(secret.Data["expiration"]))
	if left := time.Until(ends); err != nil || left < 110*time.Minute || left > 2*time.Hour {
		t.Errorf("the token ends in %s, %v; want two hours", left, err)
	}
	out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", script).CombinedOutput()
	if err != nil {
		t.Errorf("bash: %v\n%s", err, out)
	}
	cloud, _, err := b.ctl(t, "join", "--pool", "vpc", "--api-server", far)
	if err != nil || !strings.HasSuffix(constant(t, cloud, "NODE_LABELS"), "is-edge-worker=false") {
		t.Errorf("a node of a cloud pool is an edge worker; %v", err)
	}
}

// TestBearer uses the token as a machine does: it may ask for a certificate,
// and it may read and write nothing.
func TestBearer(t *testing.T) {
	b := newBench(t)
	script, messages, err := b.ctl(t, "join", "--pool", "shop-a", "--api-server", far)
	if err != nil {
		t.Fatalf("%v\n%s", err, messages)
	}
	cfg := rest.AnonymousClientConfig(server.Config)
	cfg.BearerToken = constant(t, script, "TOKEN")
	machine, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const csr = "certificates.k8s.io"
	for _, q := range []struct {
		verb, group, resource, sub string
		want                       bool
	}{
		{"create", csr, "certificatesigningrequests", "", true},
		{"create", csr, "certificatesigningrequests", "nodeclient", true}, // approved without an administrator
		{"create", csr, "certificatesigningrequests", "selfnodeclient", false},
		{"create", "", "nodes", "", false},
		{"list", "", "nodes", "", false},
		{"get", "", "secrets", "", false},
		{"get", "apps.openyurt.io", "nodepools", "", false},
	} {
		answer := may(t, machine, authzv1.ResourceAttributes{Verb: q.verb, Group: q.group, Resource: q.resource, Subresource: q.sub})
		if answer != q.want {
			t.Errorf("%s %s/%s %s: %t, want %t", q.verb, q.group, q.resource, q.sub, answer, q.want)
		}
	}
	// An expired token is no token.
	secret := "bootstrap-token-" + cfg.BearerToken[:6]
	past := []byte(`{"stringData":{"expiration":"2020-01-01T00:00:00Z"}}`)
	if _, err := b.admin.CoreV1().Secrets("kube-system").Patch(t.Context(), secret, types.MergePatchType, past, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(15 * time.Second)
	for {
		_, err = machine.Discovery().RESTClient().Get().AbsPath("/api").DoRaw(t.Context())
		if apierrors.IsUnauthorized(err) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("an expired token is accepted: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func may(t *testing.T, c *kubernetes.Clientset, what authzv1.ResourceAttributes) bool {
	t.Helper()
	answer, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authzv1.SelfSubjectAccessReview{
		Spec: authzv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Allowed
}

// TestJoinRefuses: what cannot work is refused before a token is made.
func TestJoinRefuses(t *testing.T) {
	b := newBench(t)
	before := tokens(t, b)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"loopback", "give --api-server", []string{"--pool", "shop-a"}},
		{"wrong type", "--type is cloud, but NodePool shop-a is of type edge", []string{"--pool", "shop-a", "--type", "cloud", "--api-server", far}},
		{"bad pool", `"Shop A" is not`, []string{"--pool", "Shop A", "--api-server", far}},
		{"bad token", "--token: not of the form", []string{"--pool", "shop-a", "--api-server", far, "--token", "s3cr3t"}},
		{"bad address", "--node-ip", []string{"--pool", "shop-a", "--api-server", far, "--node-ip", "here"}},
		{"no pool", "pool", []string{"--api-server", far}},
		{"past", "has passed", []string{"--pool", "shop-a", "--api-server", far, "--ttl", "-1h"}},
	} {
		out, messages, err := b.ctl(t, append([]string{"join"}, c.args...)...)
		if err == nil || out != "" || !strings.Contains(messages, c.want) {
			t.Errorf("%s: %v, %q on stdout, want %q in %q", c.name, err, out, c.want, messages)
		}
		if strings.Contains(messages, "s3cr3t") {
			t.Errorf("%s: the token is repeated: %s", c.name, messages)
		}
	}
	if after := tokens(t, b); after != before {
		t.Errorf("%d tokens before, %d after", before, after)
	}
	_, messages, err := b.ctl(t, "join", "--pool", "shop-z", "--api-server", far)
	if err != nil || !strings.Contains(messages, "there is no NodePool shop-z") {
		t.Errorf("a pool that does not exist yet: %v, %s", err, messages)
	}
}

func tokens(t *testing.T, b *bench) int {
	t.Helper()
	list, err := b.admin.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{FieldSelector: "type=bootstrap.kubernetes.io/token"})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

// TestTokenIsReused: a given token is made once, its end moves, and another
// secret under its name is not overwritten.
func TestTokenIsReused(t *testing.T) {
	b := newBench(t)
	join := func(token, ttl string) (string, error) {
		_, messages, err := b.ctl(t, "join", "--pool", "shop-a", "--api-server", far, "--token", token, "--ttl", ttl)
		return messages, err
	}
	for _, ttl := range []string{"1h", "2h", "0"} {
		if messages, err := join("aaaaaa.0123456789abcdef", ttl); err != nil {
			t.Fatalf("ttl %s: %v\n%s", ttl, err, messages)
		}
	}
	secret, err := b.admin.CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-aaaaaa", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if end, ok := secret.Data["expiration"]; ok {
		t.Errorf("ttl 0 leaves the end %s", end)
	}
	if messages, err := join("aaaaaa.fedcba9876543210", "1h"); err == nil || !strings.Contains(messages, "another secret") {
		t.Errorf("%v: %s", err, messages)
	}
}

// TestLeave takes nodes out: one that is Ready and has pods, one that has died.
func TestLeave(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a-1", "dead"} {
		n, err := b.admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if name == "a-1" {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
			if _, err := b.admin.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := server.ApplyYAML(t.Context(), "{apiVersion: net.magpie.dev/v1alpha1, kind: LinkReport, metadata: {name: "+name+"}}"); err != nil {
			t.Fatal(err)
		}
		b.pod(t, "web-"+name, name)
	}
	if out, messages, err := b.ctl(t, "leave", "a-1"); err == nil || !strings.Contains(messages, "nothing was changed") {
		t.Fatalf("without an answer: %v\n%s%s", err, out, messages)
	}
	if out, messages, err := b.ctl(t, "leave", "a-1", "--yes", "--timeout", "20s"); err != nil {
		t.Fatalf("%v\n%s%s", err, out, messages)
	} else if !strings.Contains(out, "evicted pod default/web-a-1") {
		t.Errorf("no eviction: %s", out)
	}
	if out, messages, err := b.ctl(t, "leave", "dead", "--yes"); err != nil || !strings.Contains(out, "not Ready") {
		t.Fatalf("%v\n%s%s", err, out, messages)
	}
	for _, name := range []string{"a-1", "dead"} {
		if _, err := b.admin.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("node %s: %v", name, err)
		}
		err := b.admin.RESTClient().Get().AbsPath("/apis/net.magpie.dev/v1alpha1/linkreports/" + name).Do(t.Context()).Error()
		if !apierrors.IsNotFound(err) {
			t.Errorf("report %s: %v", name, err)
		}
	}
	if out, _, err := b.ctl(t, "leave", "a-1", "--yes"); err != nil || !strings.Contains(out, "there is no node a-1") {
		t.Errorf("a second time: %v\n%s", err, out)
	}
	script, messages, err := b.ctl(t, "leave", "a-1", "--script")
	if err != nil || constant(t, script, "NODE") != "a-1" || constant(t, script, "IMAGE") != "" {
		t.Errorf("script: %v\n%s", err, messages)
	}
}

// pod makes a pod without a kubelet behind it: an eviction removes it at once
// because it does not ask for time.
func (b *bench) pod(t *testing.T, name, node string) {
	t.Helper()
	zero := int64(0)
	_, err := b.admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	_, err = b.admin.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: &zero,
			Containers: []corev1.Container{{Name: "c", Image: "none"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.admin.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &zero}) // gone by eviction
	})
}
