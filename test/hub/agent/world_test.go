// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/test/sandbox"
)

const root = "../../.."

var server *apiserver.Server

// inside are the tests in namespaces of their own, with an API server.
type inside struct{ m *testing.M }

func (i inside) Run() int { return apiserver.Main(i.m, &server) }

func TestMain(m *testing.M) { os.Exit(sandbox.Main(inside{m})) } //nolint:forbidigo // how a TestMain ends

// build builds a command of ours.
func build(t *testing.T, command string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), command)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", exe, "./cmd/"+command)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", command, err, out)
	}
	return exe
}

// program finds one that the lab has built.
func program(t *testing.T, pattern string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "magpie", "bin", pattern))
	if err != nil || len(found) == 0 {
		if os.Getenv("MAGPIE_TEST_STRICT") == "1" {
			t.Fatalf("%s is not built: run magpie-lab build", pattern)
		}
		t.Skipf("%s is not built: run magpie-lab build", pattern)
	}
	return found[len(found)-1]
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func admin(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// token is one of a ServiceAccount in kube-system.
func token(t *testing.T, account string) string {
	t.Helper()
	r, err := admin(t).CoreV1().ServiceAccounts("kube-system").CreateToken(t.Context(), account, &authnv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

// agent is a magpie-agent of node a-1.
type agent struct {
	exe, config, state, log string
	// hub is where the files for callers are.
	hub string
	// api is where it looks for the API server.
	api string
	cmd *exec.Cmd
}

// newAgent makes what a pod of the chart's DaemonSet has.
func newAgent(t *testing.T) *agent {
	t.Helper()
	dir := t.TempDir()
	a := &agent{
		exe: build(t, "magpie-agent"), config: filepath.Join(dir, "agent.yaml"), state: filepath.Join(dir, "state"),
		log: filepath.Join(dir, "log"), hub: filepath.Join(dir, "state", "hub"),
		api: strings.TrimPrefix(server.Config.Host, "https://"),
	}
	write(t, filepath.Join(filepath.Dir(a.exe), "magpie-cni"), "not called here")
	write(t, a.config, "clusterCIDRs: [10.42.0.0/16]\nhub: {enabled: true}\ntunnel: {enabled: false}\n"+
		"stateDir: "+a.state+"\nrunDir: "+dir+"/run\ncniBinDir: "+dir+"/bin\ncniConfDir: "+dir+"/net.d\n")
	// Below /run, which is the sandbox's own. Source: rest.InClusterConfig.
	account := "/var/run/secrets/kubernetes.io/serviceaccount/"
	ca, err := os.ReadFile(server.Config.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, account+"ca.crt", string(ca))
	write(t, account+"token", token(t, "magpie-agent"))
	return a
}

func (a *agent) command(ctx context.Context, t *testing.T, verb string) *exec.Cmd {
	t.Helper()
	host, port, err := net.SplitHostPort(a.api)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, a.exe, verb, "--config", a.config, "--node-name", "a-1")
	cmd.Env = append(os.Environ(), "KUBERNETES_SERVICE_HOST="+host, "KUBERNETES_SERVICE_PORT="+port)
	return cmd
}

// start runs it until stop, or the test's end.
func (a *agent) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	a.cmd = a.command(context.WithoutCancel(t.Context()), t, "run")
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.stop()
		if text, err := os.ReadFile(a.log); err == nil && t.Failed() {
			t.Logf("the agent's log:\n%s", text)
		}
	})
}

func (a *agent) stop() {
	if a.cmd == nil {
		return
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	_ = a.cmd.Wait()
	a.cmd = nil
}

// files copies what callers mount, with another place and another token.
func (a *agent) files(t *testing.T, tokenText string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), tokenText)
	change := strings.NewReplacer(client.Mount, dir, "/var/run/secrets/kubernetes.io/serviceaccount/token", filepath.Join(dir, "token"))
	for _, f := range client.Files("") {
		text, err := os.ReadFile(filepath.Join(a.hub, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, f.Name), change.Replace(string(text)))
	}
	return dir
}

// through is a client by one of the kubeconfigs, out of a network namespace or
// "" for the node's own.
func through(t *testing.T, path, space string) *kubernetes.Clientset {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if space != "" {
		cfg.Dial = func(_ context.Context, network, addr string) (net.Conn, error) {
			return sandbox.At(space, func() (net.Conn, error) { return net.DialTimeout(network, addr, 10*time.Second) }) //nolint:noctx // in another thread
		}
	}
	return clients(t, cfg)
}

func clients(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pod is a network namespace with an address, wired as cni wires a pod.
func pod(t *testing.T, name, addr string) string {
	t.Helper()
	space := sandbox.Namespace(t, name)
	sandbox.Run(t, `
ip link add veth-`+name+` type veth peer name eth0 netns `+name+`
ip link set veth-`+name+` up
ip -n `+name+` link set eth0 up
ip -n `+name+` addr add `+addr+`/32 dev eth0
ip -n `+name+` route add 169.254.1.1 dev eth0
ip -n `+name+` route add default via 169.254.1.1
ip route add `+addr+` dev veth-`+name)
	mac, err := net.InterfaceByName("veth-" + name)
	if err != nil {
		t.Fatal(err)
	}
	sandbox.Run(t, "ip -n "+name+" neigh add 169.254.1.1 lladdr "+mac.HardwareAddr.String()+" dev eth0 nud permanent")
	return space
}
