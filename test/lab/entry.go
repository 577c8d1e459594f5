// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// EntryHelp says which ways into the O&M tunnel can be tried, for --help.
const EntryHelp = `  unix   EgressSelector over a unix socket that a gateway on the same machine makes
  sni    names of edge nodes lead to the gateway, which routes on the TLS server name
  off    end the second kube-apiserver, and close both ways in`

// The second API server runs where an instance of the gateway does, as on a
// control-plane node that is a node of its cluster. The first one keeps its way
// in, TCP with certificates.
const (
	entryNode   = "cloud-1"
	entryUnit   = "entry-apiserver"
	entryPort   = "6444"
	entryDir    = "/etc/kubernetes/entry/"
	entryConfig = entryDir + "admin.conf"
	socketDir   = "/var/lib/magpie-connect"
	etcdUnit    = "entry-etcd" // on the control plane: its etcd, for the VPC
	// entrySources is where API servers are, the VPC, and metrics-server.
	entrySources = "10.0.0.0/16,10.42.0.0/16"
)

// entryHosts marks lines of ours in a machine's /etc/hosts.
const entryHosts = "# entry"

const unixConfig = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: ` + socketDir + `/connect.sock}}
`

// Entry starts a second kube-apiserver that reaches edge nodes by another way
// into the tunnel than the first: "unix" or "sni"; "off" ends it. It returns how
// to use it.
func (l *Lab) Entry(ctx context.Context, way string) (string, error) {
	if !slices.Contains([]string{"unix", "sni", "off"}, way) {
		return "", fmt.Errorf("no way in %q: unix, sni or off", way)
	}
	unlock, err := l.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if way == "off" {
		return "the second kube-apiserver has ended", l.closeEntries(ctx)
	}
	if err := l.openEntries(ctx); err != nil {
		return "", fmt.Errorf("open the gateway's entries: %w", err)
	}
	if err := l.entryFiles(ctx, way); err != nil {
		return "", err
	}
	if err := l.startEntry(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("a second kube-apiserver runs on %[1]s and reaches edge nodes by %[2]s; try: magpie-lab shell %[1]s kubectl --kubeconfig %[3]s get nodes",
		entryNode, way, entryConfig), nil
}

// openEntries upgrades the release as an operator would, and waits for it.
func (l *Lab) openEntries(ctx context.Context) error {
	for _, h := range workers() {
		if h.Type != "cloud" {
			continue
		}
		if _, err := l.Exec(ctx, h.Name, "install", "-d", "-o", "65532", "-m", "0700", socketDir); err != nil {
			return err
		}
	}
	return l.upgrade(ctx, "--set", "gateway.connect.socketDir="+socketDir,
		"--set", "gateway.sni.enabled=true", "--set", "gateway.sni.sources={"+entrySources+"}")
}

func (l *Lab) closeEntries(ctx context.Context) error {
	for machine, unit := range map[string]string{entryNode: entryUnit, world.ControlPlane: etcdUnit} {
		if _, err := l.Exec(ctx, machine, "systemctl", "stop", unit); err != nil {
			return err
		}
	}
	if err := l.entryNames(""); err != nil {
		return err
	}
	return l.upgrade(ctx, "--set", "gateway.connect.socketDir=", "--set", "gateway.sni.enabled=false")
}

func (l *Lab) upgrade(ctx context.Context, args ...string) error {
	argv := append([]string{"upgrade", "magpie", filepath.Join(l.opt.Repo, "charts", "magpie"), "--namespace=kube-system", "--reset-then-reuse-values"}, args...)
	if _, err := output(l.Host(ctx, l.Tool("helm"), argv...)); err != nil {
		return fmt.Errorf("helm upgrade: %w", err)
	}
	_, err := l.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/magpie-gateway", "--timeout=120s")
	return err
}

// entryFiles writes what the second API server reads.
func (l *Lab) entryFiles(ctx context.Context, way string) error {
	cp, _ := world.FindHost(world.ControlPlane)
	root := func(name string) string { return machine.Spec{Name: name, Lab: l.dir}.Dir() }
	unit := func(argv ...string) string {
		return fmt.Sprintf("[Service]\nExecStart=%s\nRestart=always\nRestartSec=1\n", strings.Join(argv, " \\\n  "))
	}
	argv := append([]string{"/lab/bin/kube-apiserver"}, apiServerFlags(cp.IP, entryDir+"pki/")...)
	// The Service `kubernetes` stays the first one's alone.
	argv = append(argv, "--bind-address=127.0.0.1", "--secure-port="+entryPort, "--endpoint-reconciler-type=none")
	edge := nowhere
	switch way {
	case "unix":
		argv = append(argv, "--egress-selector-config-file="+entryDir+"egress-selector.yaml")
	case "sni":
		// Without it, exec and port-forward come without a server name.
		// Source: k8s.io/apimachinery pkg/util/proxy, DialURL.
		argv = append(argv, "--kubelet-certificate-authority="+entryDir+"kubelets.crt")
		var err error
		if edge, err = l.clusterIP(ctx, "kube-system", "magpie-gateway-nodes"); err != nil {
			return err
		}
	}
	if err := l.entryNames(edge); err != nil {
		return err
	}
	kubelets, err := l.kubeletAuthorities()
	if err != nil {
		return err
	}
	for file, text := range map[string]string{
		filepath.Join(root(entryNode), entryDir, "kubelets.crt"):                   kubelets,
		filepath.Join(root(entryNode), entryDir, "egress-selector.yaml"):           unixConfig,
		filepath.Join(root(entryNode), "etc/systemd/system", entryUnit+".service"): unit(argv...),
		filepath.Join(root(world.ControlPlane), "etc/systemd/system", etcdUnit+".service"): unit(
			"/usr/bin/socat", "TCP-LISTEN:2379,bind="+cp.IP+",fork,reuseaddr", "TCP:127.0.0.1:2379"),
	} {
		if err := write(file, text, 0o600); err != nil {
			return err
		}
	}
	keys, err := filepath.Glob(l.pki("*"))
	if err != nil {
		return fmt.Errorf("list pki: %w", err)
	}
	for _, f := range keys {
		if err := place(f, filepath.Join(root(entryNode), entryDir, "pki", filepath.Base(f))); err != nil {
			return err
		}
	}
	return l.writeKubeconfig(filepath.Join(root(entryNode), entryConfig), "admin", "https://127.0.0.1:"+entryPort)
}

// kubeletAuthorities are who signed kubelets' serving certificates: in the lab
// each for itself.
func (l *Lab) kubeletAuthorities() (string, error) {
	var all strings.Builder
	for _, h := range workers() {
		b, err := os.ReadFile(filepath.Join(machine.Spec{Name: h.Name, Lab: l.dir}.Dir(), "var/lib/kubelet/pki/kubelet.crt"))
		if err != nil {
			return "", fmt.Errorf("read the certificate of %s's kubelet: %w", h.Name, err)
		}
		all.Write(b)
	}
	return all.String(), nil
}

// nowhere is an address that leads nowhere, see hostNames.
const nowhere = "198.18.0.1"

// entryNames gives nodes names on the second API server's machine, edge nodes
// that address; "" takes all of them back.
func (l *Lab) entryNames(edge string) error {
	file := filepath.Join(machine.Spec{Name: entryNode, Lab: l.dir}.Dir(), "etc/hosts")
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read names: %w", err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, entryHosts+"\n") {
			out.WriteString(line)
		}
	}
	for _, h := range workers() {
		ip := h.IP
		if h.Type == "edge" {
			ip = edge
		}
		if edge != "" && h.Name != entryNode {
			fmt.Fprintf(&out, "%s %s %s\n", ip, h.Name, entryHosts)
		}
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		return fmt.Errorf("write names: %w", err)
	}
	return nil
}

// startEntry starts the second API server and waits until it answers.
func (l *Lab) startEntry(ctx context.Context) error {
	for _, s := range [][2]string{{world.ControlPlane, etcdUnit}, {entryNode, entryUnit}} {
		if _, err := l.Exec(ctx, s[0], "systemctl", "restart", s[1]); err != nil {
			return err
		}
	}
	err := poll(ctx, 90*time.Second, func() error {
		_, err := l.Exec(ctx, entryNode, "kubectl", "--kubeconfig="+entryConfig, "get", "--raw", "/readyz")
		return err
	})
	if err != nil {
		return fmt.Errorf("the second kube-apiserver (see %s): %w", l.LogFile(entryNode, entryUnit), err)
	}
	return nil
}
