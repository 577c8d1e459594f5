// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// ErrAbsent says that a binary is missing.
var ErrAbsent = errors.New("etcd or kube-apiserver is not installed: run make deps")

const (
	token        = "test-admin"
	startTimeout = 60 * time.Second
)

// Server is a running API server.
type Server struct {
	// Config is a client's, with all rights.
	Config *rest.Config
	dir    string
	stop   chan struct{}
	done   chan struct{}
	last   atomic.Int64 // names what followRights makes
}

// Main starts a server, runs the tests of a package and stops it.
func Main(m *testing.M, s **Server) int {
	started, err := Start()
	if errors.Is(err, ErrAbsent) && os.Getenv("MAGPIE_TEST_STRICT") != "1" {
		fmt.Fprintln(os.Stderr, "skipped:", err)
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start api server:", err)
		return 1
	}
	defer started.Stop()
	*s = started
	return m.Run()
}

// Start runs etcd and kube-apiserver, installs our CRDs and waits until both
// answer.
func Start() (*Server, error) {
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrAbsent, err)
	}
	apiserver, err := binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "magpie-api-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	s := &Server{dir: dir, stop: make(chan struct{}), done: make(chan struct{})}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	if err := writeFiles(dir); err != nil {
		return nil, err
	}
	fault := make(chan error, 2)
	go s.keep(fault, []*exec.Cmd{
		s.command("etcd", etcd, etcdArgs(dir, ports)),
		s.command("apiserver", apiserver, serverArgs(dir, ports)),
	})
	s.Config = &rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", ports[2]),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "certs", "apiserver.crt")},
		QPS:             -1,
	}
	if err := s.await(fault); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Stop ends both processes and removes what they wrote.
func (s *Server) Stop() {
	close(s.stop)
	<-s.done
	_ = os.RemoveAll(s.dir)
}

// keep starts the commands and stays on the thread that started them: the
// kernel kills them when that thread ends, however the test process dies.
func (s *Server) keep(fault chan<- error, commands []*exec.Cmd) {
	runtime.LockOSThread()
	defer close(s.done)
	for _, c := range commands {
		if err := c.Start(); err != nil {
			fault <- fmt.Errorf("start %s: %w", c.Path, err)
			continue
		}
		go func() {
			err := c.Wait()
			fault <- fmt.Errorf("%s ended: %w", filepath.Base(c.Path), err)
		}()
	}
	<-s.stop
	for _, c := range slices.Backward(commands) {
		if c.Process != nil {
			_ = c.Process.Kill()
		}
	}
}

func (s *Server) command(name, path string, args []string) *exec.Cmd {
	c := exec.CommandContext(context.Background(), path, args...)
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err == nil {
		c.Stdout, c.Stderr = log, log
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func etcdArgs(dir string, ports []int) []string {
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	return []string{
		"--data-dir=" + filepath.Join(dir, "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer, "--unsafe-no-fsync",
	}
}

func serverArgs(dir string, ports []int) []string {
	key := filepath.Join(dir, "sa.key")
	return []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", ports[0]),
		fmt.Sprintf("--secure-port=%d", ports[2]),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--cert-dir=" + filepath.Join(dir, "certs"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
		"--authorization-mode=Node,RBAC", "--enable-bootstrap-token-auth",
		"--token-auth-file=" + filepath.Join(dir, "tokens.csv"),
	}
}

// writeFiles makes the administrator's token and the key of service accounts.
func writeFiles(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(filepath.Join(dir, "sa.key"), block, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	line := []byte(token + ",admin,admin,system:masters\n")
	if err := os.WriteFile(filepath.Join(dir, "tokens.csv"), line, 0o600); err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	return nil
}

// binary finds the newest kube-apiserver that the lab has built.
func binary() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "magpie", "bin", "kube-apiserver-*"))
	if err != nil || len(found) == 0 {
		return "", ErrAbsent
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // only to learn a free port
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// await returns when /readyz says ok and our CRDs are served.
func (s *Server) await(fault <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.readyz(ctx)
		if err == nil {
			return s.InstallCRDs(ctx)
		}
		select {
		case err := <-fault:
			return fmt.Errorf("%w\n%s", err, s.tail())
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s: %w\n%s", startTimeout, err, s.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Server) readyz(ctx context.Context) error {
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err) // the certificate is not written yet
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Config.Host+"/readyz", http.NoBody)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}

// tail returns the last lines of both logs.
func (s *Server) tail() string {
	var b strings.Builder
	for _, name := range []string{"etcd", "apiserver"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name+".log"))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, l := range lines[max(0, len(lines)-8):] {
			fmt.Fprintf(&b, "%s: %s\n", name, l)
		}
	}
	return b.String()
}
