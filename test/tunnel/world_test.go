// SPDX-License-Identifier: Apache-2.0

package tunnel_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

var server *apiserver.Server

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) } //nolint:forbidigo // how a TestMain ends

// namespace is where the chart is installed.
const namespace = "magpie-system"

// world is a manager and a gateway.
type world struct {
	agents, health string // "address:port" of the gateway
	entry          string // its socket for callers
	kubelet        string // what agents dial for their kubelet: it says what it hears
}

// install applies the chart's rights and policies.
func install(t *testing.T) {
	t.Helper()
	ns := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n---\n"
	if err := server.ApplyYAML(t.Context(), ns+apiserver.Chart(t, namespace, "agent/rbac.yaml", "manager/rbac.yaml",
		"manager/authority.yaml", "gateway/rbac.yaml", "policies/requests.yaml")); err != nil {
		t.Fatal(err)
	}
}

func startWorld(t *testing.T) *world {
	t.Helper()
	w := &world{agents: freePort(t), health: freePort(t), entry: filepath.Join(t.TempDir(), "entry.sock"), kubelet: echoServer(t)}
	managerToken, err := admin(t).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "magpie-manager", &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, "magpie-manager", fmt.Sprintf("listen: %s\nnamespace: %s\nkubeconfig: %s\n",
		freePort(t), namespace, kubeconfig(t, managerToken.Status.Token)))
	run(t, "magpie-gateway", fmt.Sprintf("listen: %s\nhealth: %s\nentries: {connect: {unix: %s}}\nnamespace: %s\ninstance: magpie-gateway-0\nstateDir: %s\nkubeconfig: %s\n",
		w.agents, w.health, w.entry, namespace, t.TempDir(), kubeconfig(t, asPod(t, "magpie-gateway", "magpie-gateway-0").BearerToken)))
	eventually(t, 60*time.Second, func() error { _, err := ask("http://" + w.health + "/readyz"); return err })
	return w
}

// run builds a command and runs it until the test ends.
func run(t *testing.T, command, config string) {
	t.Helper()
	dir := t.TempDir()
	binary, file := filepath.Join(dir, command), filepath.Join(dir, "config.yaml")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/"+command).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "run", "--config", file)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out := &record{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", command, out)
		}
	})
}

// record is what a process prints.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// knockAs dials the gateway with a certificate that a vault has signed.
func (w *world) knockAs(t *testing.T, v identity.Vault, g identity.Grant) error {
	t.Helper()
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g.Public, g.Lifetime = &key.PublicKey, identity.Lifetime
	text, err := v.Sign.Sign(rand.Reader, time.Now(), g)
	if err != nil {
		t.Fatal(err)
	}
	keyText, err := identity.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return w.knock(t, text, keyText)
}

// knock returns nil if the gateway keeps the connection.
func (w *world) knock(t *testing.T, certificate, key []byte) error {
	t.Helper()
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{stream.ProtoAgent}} //nolint:gosec // a stranger does not care
	if certificate != nil {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", w.agents)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = conn.Read(make([]byte, 1)) // the gateway speaks first, or refuses
	return err
}

// asPod returns the token of a pod of that account on node shop-1.
func asPod(t *testing.T, account, name string) *rest.Config {
	t.Helper()
	ctx, c := t.Context(), admin(t)
	pod, err := c.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PodSpec{
			NodeName: "shop-1", ServiceAccountName: account, Containers: []corev1.Container{{Name: "x", Image: "magpie"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		BoundObjectRef: &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: name, UID: pod.UID},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(server.Config)
	cfg.BearerToken = r.Status.Token
	return cfg
}

func kubeconfig(t *testing.T, token string) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["x"] = &clientcmdapi.Cluster{Server: server.Config.Host, CertificateAuthority: server.Config.CAFile}
	c.AuthInfos["x"] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	c.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func admin(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func makeNode(t *testing.T, name string) {
	t.Helper()
	if _, err := admin(t).CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func uid(t *testing.T, node string) string {
	t.Helper()
	n, err := admin(t).CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(n.UID)
}

// echoServer stands for a kubelet.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func ask(url string) ([]byte, error) {
	resp, err := http.Get(url) //nolint:noctx,gosec // a test asks its own process
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + ": " + strings.TrimSpace(string(b)))
	}
	return b, err
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
		time.Sleep(20 * time.Millisecond)
	}
}

// background runs until stop is called or the test ends.
func background(t *testing.T, runs ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range runs {
		wg.Go(func() { _ = run(ctx) })
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// clock is a node's clock, in a world whose time a test can move.
type clock struct {
	mu  sync.Mutex
	add time.Duration // how far time was moved, for the API server, too
	off time.Duration // how far the node's clock is ahead
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.add + c.off)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add += d
}

// dates makes the answers of the API server bear the world's time.
func (c *clock) dates(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if err == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				resp.Header.Set("Date", time.Now().Add(c.add).UTC().Format(http.TimeFormat))
			}
			return resp, err
		})
	})
	return cfg
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
