// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Config is gateway.yaml. The chart writes it from its values.
type Config struct {
	// LogLevel is debug, info, warn or error.
	// +kubebuilder:validation:Enum=debug;info;warn;error
	LogLevel string `json:"logLevel"`
	// Listen is where agents and other gateways dial: "address:port", the address
	// may be empty. All instances have the same port.
	Listen string `json:"listen"`
	// Health is where /healthz, /readyz, /metrics and /sessions are served.
	Health string `json:"health"`
	// Entries are the ways in for callers.
	Entries Entries `json:"entries"`
	// Allow is where streams may end.
	Allow Allow `json:"allow"`
	// Limits bound what one node costs.
	Limits Limits `json:"limits"`
	// Handshakes bound what strangers cost.
	Handshakes Handshakes `json:"handshakes"`
	// Drain is how long open streams may go on after the order to stop, 0s to 1h.
	Drain metav1.Duration `json:"drain"`
	// Service is the headless Service whose endpoints are all instances.
	Service string `json:"service"`
	// Namespace of Service; empty is $POD_NAMESPACE.
	Namespace string `json:"namespace,omitempty"`
	// Instance is the name in our certificate; empty is $POD_NAME.
	Instance string `json:"instance,omitempty"`
	// StateDir holds key and certificate. They may be lost with the pod.
	StateDir string `json:"stateDir"`
	// Kubeconfig is the path of one; empty is the pod's own account.
	Kubeconfig string `json:"kubeconfig,omitempty"`
}

// Entries are the ways in. One without an address to listen on is closed.
type Entries struct {
	Connect Connect `json:"connect"`
	SNI     SNI     `json:"sni"`
	HTTP    HTTP    `json:"http"`
}

// Connect is the entry for an API server with an EgressSelectorConfiguration of
// type HTTPConnect.
type Connect struct {
	// Unix is the path of a socket with mode 0600; only processes of the own user
	// on this machine get in.
	Unix string `json:"unix,omitempty"`
	// Listen is "address:port" for TLS with certificates of both sides.
	Listen string `json:"listen,omitempty"`
	// ClientCA is a file with authorities whose certificates of organization
	// magpie:tunnel:callers get in, beside those of the tunnel's own authority.
	ClientCA string `json:"clientCA,omitempty"`
}

// SNI is the entry for an API server that resolves node names to the gateway.
// It can not authenticate anybody, so it has Sources.
type SNI struct {
	// Listen is "address:port".
	Listen string `json:"listen,omitempty"`
	// Port of the nodes that callers get to.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int `json:"port"`
	// Sources are the ranges that may use the entry: the control plane's.
	Sources []string `json:"sources,omitempty"`
}

// HTTP is the entry for Prometheus and metrics-server, which show a token of
// the cluster.
type HTTP struct {
	// Listen is "address:port" for TLS.
	Listen string `json:"listen,omitempty"`
	// KubeletCA is a file with the authorities of kubelets' certificates. Needed
	// for nodes on a private line; others have proved themselves already.
	KubeletCA string `json:"kubeletCA,omitempty"`
}

// Allow is where streams may end. Agents have such a list, too; both count.
type Allow struct {
	// Ports of nodes.
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	Ports []int `json:"ports"`
	// Pods are ranges whose pods may be reached on any port.
	Pods []string `json:"pods,omitempty"`
	// Deny are ranges that are never reached, whatever else says so: loopback,
	// link-local and metadata addresses never are.
	Deny []string `json:"deny,omitempty"`
}

// Limits bound what one node costs.
type Limits struct {
	// Streams open at once, 1 to 100000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Streams int `json:"streams"`
	// DialsPerSecond, 1 to 100000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	DialsPerSecond int `json:"dialsPerSecond"`
	// Buffered bytes in memory for all streams of a node, from 1 MiB.
	// +kubebuilder:validation:Minimum=1048576
	Buffered int64 `json:"buffered"`
	// Dial is how long opening a stream may take, 1s to 60s.
	Dial metav1.Duration `json:"dial"`
	// Ping is how long a silent connection waits before it is probed, 1s to 60s;
	// three probes without an answer end it.
	Ping metav1.Duration `json:"ping"`
}

// Handshakes bound what strangers cost.
type Handshakes struct {
	// Timeout of one, 1s to 60s.
	Timeout metav1.Duration `json:"timeout"`
	// Total is how many may be going on at once, 16 to 1000000.
	// +kubebuilder:validation:Minimum=16
	// +kubebuilder:validation:Maximum=1000000
	Total int `json:"total"`
	// PerSource is how many of them one address may have (one /64 of IPv6), 1 to
	// 1000000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	PerSource int `json:"perSource"`
	// Failures of one source that are forgiven at once, 1 to 1000000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Failures int `json:"failures"`
	// PerSecond is how many more are forgiven each second, 1 to 1000000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	PerSecond int `json:"perSecond"`
}

// Default returns what an empty gateway.yaml means.
func Default() Config {
	port := func(n int) string { return ":" + strconv.Itoa(n) }
	seconds := func(n int) metav1.Duration { return metav1.Duration{Duration: time.Duration(n) * time.Second} }
	return Config{
		LogLevel: "info", Listen: port(api.PortGateway), Health: port(api.PortGatewayHealth),
		Entries: Entries{SNI: SNI{Port: api.PortKubelet}},
		Allow:   Allow{Ports: []int{api.PortKubelet}, Pods: []string{"0.0.0.0/0", "::/0"}},
		Limits: Limits{
			Streams: 1000, DialsPerSecond: 100, Buffered: 64 << 20, Dial: seconds(10), Ping: seconds(10),
		},
		Handshakes: Handshakes{Timeout: seconds(10), Total: 8192, PerSource: 4096, Failures: 200, PerSecond: 5},
		Drain:      seconds(30), Service: "magpie-gateway-peers", StateDir: "/var/lib/magpie-gateway",
		Namespace: os.Getenv("POD_NAMESPACE"), Instance: os.Getenv("POD_NAME"),
	}
}

// LoadConfig reads path over the defaults and validates the result. An unknown
// field is an error: it is a typing mistake more often than a newer version.
func LoadConfig(path string) (Config, error) {
	c := Default()
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read config: %w", err)
	}
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return c, fmt.Errorf("decode config %s: %w", path, err)
	}
	c.Namespace = cmp.Or(c.Namespace, os.Getenv("POD_NAMESPACE"))
	c.Instance = cmp.Or(c.Instance, os.Getenv("POD_NAME"))
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("config %s:\n%w", path, err)
	}
	return c, nil
}

// Validate joins every problem, each with its field and the accepted range.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := c.level(); err != nil {
		bad("logLevel: %q is none of debug, info, warn, error", c.LogLevel)
	}
	for _, f := range [][2]string{
		{"service", c.Service},
		{"namespace", c.Namespace},
		{"instance", c.Instance},
		{"stateDir", c.StateDir},
	} {
		if f[1] == "" {
			bad("%s: must not be empty", f[0])
		}
	}
	errs = append(errs, c.validateEntries()...)
	errs = append(errs, c.validateNumbers()...)
	for _, p := range c.Allow.Ports {
		if p < 1 || p > 65535 {
			bad("allow.ports: %d is not 1 to 65535", p)
		}
	}
	for _, f := range []struct {
		field  string
		ranges []string
	}{
		{"allow.pods", c.Allow.Pods},
		{"allow.deny", c.Allow.Deny},
		{"entries.sni.sources", c.Entries.SNI.Sources},
	} {
		if _, err := prefixes(f.ranges); err != nil {
			bad("%s: %w", f.field, err)
		}
	}
	return errors.Join(errs...)
}

func (c Config) validateEntries() (errs []error) {
	e := c.Entries
	for i, f := range [][2]string{
		{"listen", c.Listen},
		{"health", c.Health},
		{"entries.connect.listen", e.Connect.Listen},
		{"entries.sni.listen", e.SNI.Listen},
		{"entries.http.listen", e.HTTP.Listen},
	} {
		if f[1] == "" && i >= 2 {
			continue // an entry that is closed
		}
		_, port, err := net.SplitHostPort(f[1])
		if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not address:port", f[0], f[1]))
		}
	}
	if e.SNI.Listen != "" && len(e.SNI.Sources) == 0 {
		errs = append(errs, errors.New("entries.sni.sources: name the control plane's ranges, the entry can not tell callers apart"))
	}
	if e.SNI.Port < 1 || e.SNI.Port > 65535 {
		errs = append(errs, fmt.Errorf("entries.sni.port: %d is not 1 to 65535", e.SNI.Port))
	}
	return errs
}

func (c Config) validateNumbers() (errs []error) {
	for _, n := range []struct {
		field         string
		got, from, to int64
		unit          time.Duration
	}{
		{field: "limits.streams", got: int64(c.Limits.Streams), from: 1, to: 100_000},
		{field: "limits.dialsPerSecond", got: int64(c.Limits.DialsPerSecond), from: 1, to: 100_000},
		{field: "limits.buffered", got: c.Limits.Buffered, from: 1 << 20, to: math.MaxInt64},
		{field: "limits.dial", got: int64(c.Limits.Dial.Duration), from: 1, to: 60, unit: time.Second},
		{field: "limits.ping", got: int64(c.Limits.Ping.Duration), from: 1, to: 60, unit: time.Second},
		{field: "handshakes.timeout", got: int64(c.Handshakes.Timeout.Duration), from: 1, to: 60, unit: time.Second},
		{field: "handshakes.total", got: int64(c.Handshakes.Total), from: 16, to: 1_000_000},
		{field: "handshakes.perSource", got: int64(c.Handshakes.PerSource), from: 1, to: 1_000_000},
		{field: "handshakes.failures", got: int64(c.Handshakes.Failures), from: 1, to: 1_000_000},
		{field: "handshakes.perSecond", got: int64(c.Handshakes.PerSecond), from: 1, to: 1_000_000},
		{field: "drain", got: int64(c.Drain.Duration), from: 0, to: 3600, unit: time.Second},
	} {
		unit := max(int64(n.unit), 1)
		if n.got >= n.from*unit && n.got <= n.to*unit {
			continue
		}
		if n.unit == 0 {
			errs = append(errs, fmt.Errorf("%s: %d is not %d to %d", n.field, n.got, n.from, n.to))
		} else {
			errs = append(errs, fmt.Errorf("%s: %s is not %ds to %ds", n.field, time.Duration(n.got), n.from, n.to))
		}
	}
	return errs
}

func (c Config) level() (slog.Level, error) {
	var l slog.Level
	return l, l.UnmarshalText([]byte(c.LogLevel))
}

// allow is the list of targets, of a valid Config.
func (c Config) allow() (stream.Allow, error) {
	a := stream.Allow{}
	for _, p := range c.Allow.Ports {
		a.Ports = append(a.Ports, uint16(p))
	}
	var errs [2]error
	a.Pods, errs[0] = prefixes(c.Allow.Pods)
	a.Deny, errs[1] = prefixes(c.Allow.Deny)
	return a, errors.Join(errs[:]...)
}

func (c Config) limits() stream.Limits {
	l := c.Limits
	return stream.Limits{
		Streams: l.Streams, DialsPerSecond: l.DialsPerSecond, Buffered: l.Buffered,
		Dial: l.Dial.Duration, Ping: l.Ping.Duration,
	}
}

func prefixes(in []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range in {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not a range such as 10.0.0.0/8", s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
