// SPDX-License-Identifier: Apache-2.0

package join

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/magpie-edge/magpie/api"
)

// Types of pools, as the label openyurt.io/is-edge-worker tells them apart.
const (
	Edge  = "edge"
	Cloud = "cloud"
)

// Defaults for Params that leave a field at its zero value.
const (
	DefaultRuntimeEndpoint = "unix:///run/containerd/containerd.sock"
	DefaultClusterDomain   = "cluster.local"
	// ClockLimit is how many seconds a node's clock may differ from the API
	// server's: kube-controller-manager dates a new certificate back by five
	// minutes, and a log that is a minute off cannot be compared with another.
	ClockLimit = 60
	// KernelMin is the oldest kernel whose nftables can do what our rules need.
	KernelMin = "5.2"
	// Wait is how many seconds the script waits for the node to register.
	Wait = 120
)

// Params are what the join script of one pool needs to know.
type Params struct {
	// Pool is the name of the NodePool; Type is Edge or Cloud.
	Pool, Type string
	// APIServer is "https://host[:port]", reachable from the node.
	APIServer string
	// CA is the cluster's CA certificate, PEM.
	CA string
	// Cluster identifies the cluster: the UID of its namespace kube-system.
	Cluster string
	// Token is a bootstrap token, "abcdef.0123456789abcdef"; Expires says until
	// when it is valid, for people.
	Token, Expires string
	// ServerMinor is the minor version of the API server.
	ServerMinor int
	// ClusterDNS are the addresses of the cluster's DNS service, one or two.
	ClusterDNS []netip.Addr
	// ClusterDomain and RuntimeEndpoint have defaults; see above.
	ClusterDomain, RuntimeEndpoint string
	// NodeIP is the node's address where it has several; zero lets kubelet choose.
	NodeIP netip.Addr
	// AllowSwap joins machines that swap.
	AllowSwap bool
}

var (
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	tokenForm = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)
	uidForm   = regexp.MustCompile(`^[-0-9A-Za-z]+$`)
)

// ValidToken reports whether s has the form of a bootstrap token.
func ValidToken(s string) bool { return tokenForm.MatchString(s) }

// Validate joins every problem, each with its field and what is accepted. It
// never repeats the token.
func (p Params) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(dnsLabel.MatchString(p.Pool), "pool: %q is not a DNS label", p.Pool)
	want(p.Type == Edge || p.Type == Cloud, "type: %q is neither %s nor %s", p.Type, Edge, Cloud)
	want(validServer(p.APIServer), "api-server: %q is not of the form https://host[:port]", p.APIServer)
	want(strings.Contains(p.CA, "-----BEGIN CERTIFICATE-----"), "ca: not a PEM certificate")
	want(uidForm.MatchString(p.Cluster), "cluster: %q is not a UID", p.Cluster)
	want(ValidToken(p.Token), "token: not of the form abcdef.0123456789abcdef")
	want(p.ServerMinor > 0, "server version: minor %d is not positive", p.ServerMinor)
	want(len(p.ClusterDNS) > 0, "cluster-dns: empty")
	for _, a := range p.ClusterDNS {
		want(a.IsValid(), "cluster-dns: holds an invalid address")
	}
	for label := range strings.SplitSeq(p.domain(), ".") {
		want(dnsLabel.MatchString(label), "cluster-domain: %q is not a DNS name", p.ClusterDomain)
	}
	_, err := socket(p.RuntimeEndpoint)
	want(err == nil, "runtime-endpoint: %v", err)
	return errors.Join(errs...)
}

func (p Params) domain() string {
	if p.ClusterDomain == "" {
		return DefaultClusterDomain
	}
	return p.ClusterDomain
}

func validServer(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return false
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return (u.Path == "" || u.Path == "/") && u.RawQuery == "" && !strings.ContainsAny(u.Host, " '\"\\$`")
}

// socket returns the path of a unix socket named by an endpoint.
func socket(endpoint string) (string, error) {
	if endpoint == "" {
		endpoint = DefaultRuntimeEndpoint
	}
	file, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok || !path.IsAbs(file) || strings.ContainsAny(file, " \t\n'\"\\$`") {
		return "", fmt.Errorf("%q is not of the form unix:///path", endpoint)
	}
	return file, nil
}

// labels are the labels with which the node registers. kubelet may set them on
// its own Node: they are not in the domains that NodeRestriction guards.
func (p Params) labels() string {
	edge := strconv.FormatBool(p.Type == Edge)
	return api.LabelPool + "=" + p.Pool + "," + api.LabelEdgeWorker + "=" + edge
}

// Script renders the join script.
func Script(p Params) (string, error) {
	if err := p.Validate(); err != nil {
		return "", fmt.Errorf("render join script: %w", err)
	}
	runtime, _ := socket(p.RuntimeEndpoint) // validated
	dns := make([]string, len(p.ClusterDNS))
	for i, a := range p.ClusterDNS {
		dns[i] = a.String()
	}
	node := ""
	if p.NodeIP.IsValid() {
		node = p.NodeIP.String()
	}
	return render("Joins a machine to node pool "+p.Pool+". It contains a secret: keep it to yourself.", []constant{
		{"POOL", p.Pool},
		{"API_SERVER", strings.TrimSuffix(p.APIServer, "/")},
		{"CLUSTER", p.Cluster},
		{"TOKEN", p.Token},
		{"TOKEN_EXPIRES", p.Expires},
		{"SERVER_MINOR", strconv.Itoa(p.ServerMinor)},
		{"CLUSTER_DNS", strings.Join(dns, " ")},
		{"CLUSTER_DOMAIN", p.domain()},
		{"RUNTIME_SOCKET", runtime},
		{"NODE_LABELS", p.labels()},
		{"NODE_IP", node},
		{"ALLOW_SWAP", strconv.FormatBool(p.AllowSwap)},
		{"WAIT", strconv.Itoa(Wait)},
		{"CLOCK_LIMIT", strconv.Itoa(ClockLimit)},
		{"KERNEL_MIN", KernelMin},
		{"PORT_LINKS", strconv.Itoa(api.PortLinks)},
		{"PORT_VXLAN", strconv.Itoa(api.PortVXLAN)},
		{"CA_PEM", strings.TrimSpace(p.CA)},
	}, "lib", "check", "api", "files", "join")
}
