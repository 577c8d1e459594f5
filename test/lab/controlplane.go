// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// Ranges of the cluster, both families.
const (
	podCIDRs     = "10.42.0.0/16,fd42::/48"
	serviceCIDRs = "10.43.0.0/16,fd43::/112"
	dnsIP        = "10.43.0.10"
)

const kubePKI = "/etc/kubernetes/pki/"

// controlPlaneFiles are the units of etcd and the three Kubernetes processes.
// They run as services of the control-plane machine, not as static pods: it
// has no kubelet, like a managed control plane.
func (l *Lab) controlPlaneFiles(files map[string]string) {
	unit := func(name, after string, argv ...string) {
		files["etc/systemd/system/"+name+".service"] = fmt.Sprintf(
			"[Unit]\nAfter=%s\n\n[Service]\nExecStart=%s\nRestart=always\nRestartSec=1\n\n[Install]\nWantedBy=multi-user.target\n",
			after, strings.Join(argv, " \\\n  "))
	}
	unit("etcd", "", "/usr/bin/etcd", "--name=lab", "--data-dir=/var/lib/etcd",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=lab=http://127.0.0.1:2380", "--logger=zap")
	unit("kube-apiserver", "etcd.service", append(append([]string{"/usr/local/bin/kube-apiserver"},
		apiServerFlags("127.0.0.1", kubePKI)...), "--bind-address=0.0.0.0", "--secure-port=6443", "$APISERVER_EXTRA_ARGS")...)
	files["etc/systemd/system/kube-apiserver.service.d/10-extra.conf"] = "[Service]\nEnvironmentFile=-/etc/default/kube-apiserver\n"
	unit("kube-controller-manager", "kube-apiserver.service", "/usr/local/bin/kube-controller-manager",
		"--kubeconfig=/etc/kubernetes/controller-manager.conf",
		"--authentication-kubeconfig=/etc/kubernetes/controller-manager.conf",
		"--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf",
		"--bind-address=127.0.0.1", "--leader-elect=false", "--controllers=*,bootstrapsigner,tokencleaner",
		"--allocate-node-cidrs", "--cluster-cidr="+podCIDRs, "--service-cluster-ip-range="+serviceCIDRs,
		"--node-cidr-mask-size-ipv4=24", "--node-cidr-mask-size-ipv6=64",
		"--cluster-signing-cert-file="+kubePKI+"ca.crt", "--cluster-signing-key-file="+kubePKI+"ca.key",
		"--root-ca-file="+kubePKI+"ca.crt", "--service-account-private-key-file="+kubePKI+"sa.key",
		"--requestheader-client-ca-file="+kubePKI+"front-proxy-ca.crt",
		"--use-service-account-credentials")
	unit("kube-scheduler", "kube-apiserver.service", "/usr/local/bin/kube-scheduler",
		"--kubeconfig=/etc/kubernetes/scheduler.conf",
		"--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",
		"--authorization-kubeconfig=/etc/kubernetes/scheduler.conf",
		"--bind-address=127.0.0.1", "--leader-elect=false")
}

// apiServerFlags are those of every kube-apiserver of the lab: where its etcd is
// and in which folder its keys are.
func apiServerFlags(etcd, pki string) []string {
	cp, _ := world.FindHost(world.ControlPlane)
	return []string{
		"--etcd-servers=http://" + etcd + ":2379",
		// The address everybody uses is the EIP: the `kubernetes` Service points there.
		"--advertise-address=" + cp.EIP,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth", "--allow-privileged",
		"--client-ca-file=" + pki + "ca.crt",
		"--tls-cert-file=" + pki + "apiserver.crt", "--tls-private-key-file=" + pki + "apiserver.key",
		"--kubelet-client-certificate=" + pki + "apiserver-kubelet-client.crt",
		"--kubelet-client-key=" + pki + "apiserver-kubelet-client.key",
		// By name first: two shops have the same addresses, only names tell
		// nodes apart. Who resolves them is the O&M tunnel's business.
		"--kubelet-preferred-address-types=Hostname,InternalIP,ExternalIP",
		"--service-cluster-ip-range=" + serviceCIDRs,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pki + "sa.pub", "--service-account-signing-key-file=" + pki + "sa.key",
		"--requestheader-client-ca-file=" + pki + "front-proxy-ca.crt",
		"--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pki + "front-proxy-client.crt",
		"--proxy-client-key-file=" + pki + "front-proxy-client.key",
		"--enable-aggregator-routing",
	}
}

// writeControlPlaneSecrets gives the control-plane machine its keys.
func (l *Lab) writeControlPlaneSecrets() error {
	dir := machine.Spec{Name: world.ControlPlane, Lab: l.dir}.Dir()
	names, err := filepath.Glob(l.pki("*"))
	if err != nil {
		return fmt.Errorf("list pki: %w", err)
	}
	for _, f := range names {
		if err := place(f, filepath.Join(dir, "etc/kubernetes/pki", filepath.Base(f))); err != nil {
			return err
		}
	}
	const local = "https://127.0.0.1:6443"
	for user, file := range map[string]string{
		"controller-manager": "controller-manager.conf", "scheduler": "scheduler.conf", "admin": "admin.conf",
	} {
		if err := l.writeKubeconfig(filepath.Join(dir, "etc/kubernetes", file), user, local); err != nil {
			return err
		}
	}
	return l.hostNames(dir)
}

// hostNames lets the control plane find the cloud nodes by name, as a VPC's
// private zone does. Edge nodes have no address that it could use, but the API
// server wants their names to mean something before it proxies to a node, even
// where an egress selector dials: they get addresses that lead nowhere.
// Source: k8s.io/apiserver pkg/util/proxy, IsProxyableHostname; RFC 2544 section 8.
func (l *Lab) hostNames(dir string) error {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost " + world.ControlPlane + "\n::1 localhost\n")
	for i, h := range world.Hosts() {
		switch h.Type {
		case "cloud":
			// Whoever dials the gateway tries one after the other.
			fmt.Fprintf(&b, "%s %s %s\n", h.IP, h.Name, tunnelHost)
		case "edge":
			fmt.Fprintf(&b, "198.18.0.%d %s\n", i, h.Name)
		}
	}
	return write(filepath.Join(dir, "etc/hosts"), b.String(), 0o644)
}
