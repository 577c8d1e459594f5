// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/nodepool/join"
)

const serve = "MAGPIE_TEST_API_SERVER"

// TestMain is the tests or, inside a machine, the API server.
func TestMain(m *testing.M) {
	if dir := os.Getenv(serve); dir != "" {
		log.Fatal(apiServer(dir))
	}
	os.Exit(m.Run()) //nolint:forbidigo // how a TestMain ends
}

func goodParams(ca, server string) join.Params {
	if ca == "" {
		ca = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	}
	return join.Params{
		Pool: "shop-a", Type: join.Edge, APIServer: server, CA: ca, Cluster: "6a0c3a3e",
		Token: "abcdef.0123456789abcdef", Expires: "2026-11-23T19:00:00Z", ServerMinor: 37,
		ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
	}
}

// TestMachine runs the scripts as root of namespaces of their own: a machine
// with its own network, host name, /etc, /var and /run, on which each case
// breaks something first. kubelet and systemctl are stand-ins (testdata/bin);
// the API server is real TLS. The lab runs the script with the real ones.
func TestMachine(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("unshare is not installed: apt-get install util-linux")
	}
	for _, program := range []string{"curl", "ip", "getent"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed: apt-get install curl iproute2 libc-bin", program)
		}
	}
	dir := t.TempDir()
	ca := certificates(t, dir)
	golden.Run(t, "testdata/machine/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		return onMachine(t, dir, ca, string(c.File(t, "run")))
	})
}

func onMachine(t *testing.T, dir, ca, run string) string {
	t.Helper()
	work := t.TempDir()
	params := goodParams(ca, "https://127.0.0.1:6443")
	script(t, filepath.Join(work, "join"), params)
	params.Pool = "shop-b"
	script(t, filepath.Join(work, "join-shop-b"), params)
	params = goodParams(ca, "https://127.0.0.1:6443")
	params.Cluster = "another"
	script(t, filepath.Join(work, "join-another"), params)
	params = goodParams(ca, "https://203.0.113.10:6443")
	script(t, filepath.Join(work, "join-far"), params)
	leave, err := join.LeaveScript(join.LeaveParams{
		Node: "a-1", Cluster: "6a0c3a3e", Image: "magpie:test", AgentConfig: "logLevel: info\n",
		CNIBinDir: "/opt/cni/bin", CNIConfDir: "/etc/cni/net.d",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "leave"), []byte(leave), 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs("testdata/bin")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/machine.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child",
		"bash", "-c", string(text)+"\n"+run)
	cmd.Env = []string{
		"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
		"WORK=" + work, "PKI=" + dir, "SERVER=" + exe, "TMPDIR=" + work, // of scripts that are killed, too
	}
	cmd.Dir = work
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("machine: %v\n%s", err, out)
	}
	return stable(strings.ReplaceAll(string(out), work, "/tmp"))
}

func script(t *testing.T, file string, p join.Params) {
	t.Helper()
	text, err := join.Script(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stable takes out what differs from run to run and from machine to machine.
func stable(out string) string {
	for _, r := range []struct{ re, with string }{
		{`pid [0-9]+`, "pid N"},
		{`kernel [0-9]{1,2}\.[0-9]+\.[0-9]+[-.\w+]*`, "kernel R"},
		{`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z\b`, "TIME"},
		{`\b(59|60)[0-9] s`, "600 s"},
		{`clock is [0-9] s off`, "clock is 0 s off"},
		{`after [0-9]+ s`, "after N s"},
		{`=/\S*/testdata/bin/`, "=BIN/"},
		{`(curl: \([0-9]+\)) .*`, "$1 ..."},
		{`failCgroupV1: false\n`, ""},
		{`(?m)^.*(cgroup v2|cgroup v1: .*\n.*)\n`, ""},
	} {
		out = regexp.MustCompile(r.re).ReplaceAllString(out, r.with)
	}
	return out
}

// certificates writes a CA, a server certificate for 127.0.0.1, a client
// certificate and, for the imposter, a server certificate of another CA. It
// returns the CA.
func certificates(t *testing.T, dir string) string {
	t.Helper()
	for _, name := range []string{"real", "imposter"} {
		caKey, caCert := authority(t)
		issue(t, filepath.Join(dir, name+"-server.pem"), caKey, caCert)
		issue(t, filepath.Join(dir, name+"-client.pem"), caKey, caCert)
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caCert.Raw})
		if err := os.WriteFile(filepath.Join(dir, name+"-ca.crt"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := os.ReadFile(filepath.Join(dir, "real-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(ca)
}

func authority(t *testing.T) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func issue(t *testing.T, file string, caKey *ecdsa.PrivateKey, ca *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "system:node:a-1", Organization: []string{"system:nodes"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// apiServer answers what a joining machine asks. SERVER_AS says whose
// certificate it shows, SERVER_CLOCK by how much its clock is ahead, and
// SERVER_TOKEN which token it knows.
func apiServer(dir string) error {
	ahead, err := time.ParseDuration(os.Getenv("SERVER_CLOCK"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "real-ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /api", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+os.Getenv("SERVER_TOKEN") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("GET /api/v1/nodes/a-1", func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 || r.Header.Get("Accept") != "application/yaml" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "kind: Node\nstatus:\n  conditions:\n  - message: kubelet is posting ready status\n    status: %q\n    type: Ready\n", os.Getenv("SERVER_NODE_READY"))
	})
	server := &http.Server{
		Addr:              "127.0.0.1:6443",
		ReadHeaderTimeout: time.Second,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			mux.ServeHTTP(w, r)
		}),
	}
	file := filepath.Join(dir, os.Getenv("SERVER_AS")+"-server.pem")
	return server.ListenAndServeTLS(file, file)
}
