// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"path/filepath"
	"strings"
)

// Versions of what is built. They stand in the go.mod files too; a test
// compares.
const (
	Kubernetes = "v1.37.2"
	Containerd = "v2.4.2"
	Helm       = "v4.3.1"
	CoreDNS    = "v1.15.0"
	Metrics    = "v0.9.0"
	Flannel    = "v0.28.4"
	// Oldest is the oldest Kubernetes whose kube-proxy must work with the hub.
	Oldest = "v1.30.14"
)

// Tool is a command built from a module.
type Tool struct {
	Name    string
	Version string
	Module  string // folder below test/lab
	Package string
	LDFlags string
	Tags    string
	// Without are folders of Package's module that are built as empty packages.
	// Then Package is the module.
	Without []string
}

// File is where the tool is kept.
func (t Tool) File(cache string) string {
	return filepath.Join(cache, "bin", t.Name+"-"+t.Version)
}

// Tools returns everything that every lab needs, the slowest first.
func Tools() []Tool {
	var out []Tool
	for _, pkg := range []string{
		"cmd/kube-apiserver", "cmd/kube-controller-manager", "cmd/kube-scheduler", "cmd/kubelet",
		"cmd/kube-proxy", "cmd/kubectl", "test/images/agnhost",
	} {
		out = append(out, Tool{
			Name: filepath.Base(pkg), Version: Kubernetes, Module: "kube",
			Package: "k8s.io/kubernetes/" + pkg, LDFlags: says(Kubernetes),
		})
	}
	const ctrd = "github.com/containerd/containerd/v2"
	for _, cmd := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		out = append(out, Tool{
			Name: cmd, Version: Containerd, Module: "containerd", Package: ctrd + "/cmd/" + cmd,
			LDFlags: "-X " + ctrd + "/version.Version=" + Containerd, Tags: "no_btrfs,no_zfs,no_devmapper",
		})
	}
	return append(out,
		Tool{Name: "coredns", Version: CoreDNS, Module: "coredns", Package: "github.com/coredns/coredns"},
		Tool{
			Name: "helm", Version: Helm, Module: "helm", Package: "helm.sh/helm/v4/cmd/helm",
			LDFlags: "-X helm.sh/helm/v4/internal/version.version=" + Helm,
		},
	)
}

// Extras are built when somebody asks for them.
func Extras() []Tool {
	return []Tool{{Name: "metrics-server", Version: Metrics, Module: "metrics", Package: "sigs.k8s.io/metrics-server/cmd/metrics-server"}}
}

// Old are the clients of another year that the API tests try, beside those of
// Tools. No lab runs them.
func Old() []Tool {
	return []Tool{{
		Name: "kube-proxy", Version: Oldest, Module: "kubeold", Package: "k8s.io/kubernetes/cmd/kube-proxy", LDFlags: says(Oldest),
	}}
}

// Peers are systems that our nodes are tried beside, for `make flannel`. flanneld
// is built as it is, less two of its backends: one is half in C, the other wants
// the libraries of Tencent's cloud. Neither is VXLAN.
func Peers() []Tool {
	const flannel = "github.com/flannel-io/flannel"
	return []Tool{{
		Name: "flanneld", Version: Flannel, Module: "flannel", Package: flannel,
		LDFlags: "-X " + flannel + "/pkg/version.Version=" + Flannel,
		Without: []string{"pkg/backend/udp", "pkg/backend/tencentvpc"},
	}}
}

// says are the linker flags with which a Kubernetes program knows its version.
func says(kubernetes string) string {
	const version = "k8s.io/component-base/version"
	minor := strings.Split(kubernetes, ".")[1]
	return "-X " + version + ".gitVersion=" + kubernetes + " -X " + version + ".gitMajor=1 -X " + version +
		".gitMinor=" + minor + " -X " + version + ".gitTreeState=clean"
}

// hostPrograms are what Debian provides, by the package that has them.
var hostPrograms = map[string]string{
	"etcd": "etcd-server", "runc": "runc", "nft": "nftables", "iptables": "iptables", "ip6tables": "iptables",
	"conntrack": "conntrack", "ip": "iproute2", "tc": "iproute2", "sysctl": "procps", "socat": "socat",
	"nsenter": "util-linux", "mount": "mount", "busybox": "busybox-static",
}
