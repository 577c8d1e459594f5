// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/hub/access"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Config is agent.yaml. The chart writes it from its values.
type Config struct {
	// ClusterCIDRs are the ranges all pod CIDRs come from: at most one a family.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F:.]+/[0-9]{1,3}$`
	// +listType=set
	ClusterCIDRs []string `json:"clusterCIDRs"`
	// NonMasquerade are destinations outside the cluster towards which pods
	// keep their own address.
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F:.]+/[0-9]{1,3}$`
	// +listType=set
	NonMasquerade []string `json:"nonMasquerade,omitempty"`
	// VNI of the overlay, 1 to 16777215.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16777215
	VNI int `json:"vni"`
	// Port is the UDP port of the overlay, 1 to 65535.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int `json:"port"`
	// MTU of pods in bytes, 1280 to 9500; 0 derives it from the underlay, and
	// so does more than the underlay carries.
	// +kubebuilder:validation:Minimum=1280
	// +kubebuilder:validation:Maximum=9500
	// +magpie:orZero
	MTU int `json:"mtu"`
	// FastPath is auto or off: whether established connections between pods go past
	// the host's IP stack where the kernel can do that.
	// +kubebuilder:validation:Enum=auto;off
	FastPath string `json:"fastPath"`
	// APIServer is the URL, https://..., to use instead of the one in the
	// environment, which on a node without kube-proxy leads nowhere.
	// +kubebuilder:validation:Pattern=`^$|^https://.+`
	APIServer string `json:"apiServer,omitempty"`
	// CNIBinDir is where the container runtime looks for CNI plugins.
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	CNIBinDir string `json:"cniBinDir"`
	// CNIConfDir is where it looks for CNI configurations.
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	CNIConfDir string `json:"cniConfDir"`
	// StateDir survives reboots: the saved View, the ledger, keys.
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	StateDir string `json:"stateDir"`
	// RunDir does not: the socket.
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	RunDir string `json:"runDir"`
	// Tunnel is the node's end of the O&M tunnel.
	Tunnel TunnelConfig `json:"tunnel"`
	// Hub is the node's own endpoint for Services and their endpoints.
	Hub HubConfig `json:"hub"`
	// Fence is what closes the NodePorts that nodeport.openyurt.io/listen does not
	// open on this node: hub, for a kube-proxy that reads through the hub, or
	// nftables, for any kube-proxy. nftables needs Linux 5.9.
	// +kubebuilder:validation:Enum=hub;nftables
	Fence string `json:"fence"`
	// LogLevel is debug, info, warn or error.
	// +kubebuilder:validation:Enum=debug;info;warn;error
	LogLevel string `json:"logLevel"`
}

// TunnelConfig is the node's end of the O&M tunnel: what the cloud may reach
// here, and how much of it. Gateways have such a list, too; both count.
type TunnelConfig struct {
	// Enabled is false on a node that nobody shall reach through the tunnel.
	Enabled bool `json:"enabled"`
	// Ports of this node that may be reached: the kubelet's, and those declared
	// for monitoring, such as 9100. At most 64.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	// +listType=set
	Ports []int `json:"ports"`
	// Streams open at once, 1 to 100000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Streams int `json:"streams"`
	// DialsPerSecond, 1 to 100000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	DialsPerSecond int `json:"dialsPerSecond"`
	// BufferedMiB is memory for what streams have yet to deliver, 1 to 65536.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	BufferedMiB int `json:"bufferedMiB"`
	// DrainSeconds is how long open streams may go on after the order to stop, 0
	// to 300. Until then no other agent serves the node.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	DrainSeconds int `json:"drainSeconds"`
}

// HubConfig is the node's hub: what kube-proxy and CoreDNS read Services from
// once "magpiectl hub enable" has pointed them at it.
type HubConfig struct {
	// Enabled makes the agent serve it.
	Enabled bool `json:"enabled"`
	// GraceHours is how long a caller that the API server has let in before is let
	// in while it does not answer, 0 to 720.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=720
	GraceHours int `json:"graceHours"`
}

// Values of Config.Fence.
const (
	fenceHub      = "hub"
	fenceNFTables = "nftables"
)

// Default returns what an empty agent.yaml means.
func Default() Config {
	return Config{
		VNI: api.VNI, Port: api.PortVXLAN, FastPath: fastPathAuto,
		CNIBinDir: "/opt/cni/bin", CNIConfDir: "/etc/cni/net.d",
		StateDir: api.DirState, RunDir: api.DirRun,
		Tunnel: TunnelConfig{
			Enabled: true, Ports: []int{api.PortKubelet}, Streams: 1000, DialsPerSecond: 100, BufferedMiB: 64, DrainSeconds: 5,
		},
		Hub:      HubConfig{GraceHours: int(access.DefaultGrace / time.Hour)},
		Fence:    fenceHub,
		LogLevel: "info",
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
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("config %s:\n%w", path, err)
	}
	return c, nil
}

// Validate joins every problem, each with its field and the accepted range.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	seen := map[bool]bool{}
	for i, s := range c.ClusterCIDRs {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			bad("clusterCIDRs[%d]: %q is not a CIDR", i, s)
		case p != p.Masked():
			bad("clusterCIDRs[%d]: %s has host bits set; did you mean %s?", i, s, p.Masked())
		case seen[p.Addr().Is6()]:
			bad("clusterCIDRs[%d]: %s is the second range of its family; at most one of each", i, s)
		default:
			seen[p.Addr().Is6()] = true
		}
	}
	if len(c.ClusterCIDRs) == 0 {
		bad("clusterCIDRs: empty; give kube-controller-manager's --cluster-cidr")
	}
	for i, s := range c.NonMasquerade {
		if _, err := netip.ParsePrefix(s); err != nil {
			bad("nonMasquerade[%d]: %q is not a CIDR", i, s)
		}
	}
	between := func(field string, v, low, high int) {
		if v < low || v > high {
			bad("%s: %d is not within %d to %d", field, v, low, high)
		}
	}
	between("vni", c.VNI, 1, 1<<24-1)
	between("port", c.Port, 1, 65535)
	if c.MTU != 0 {
		between("mtu", c.MTU, api.MTUMin, api.MTUMax)
	}
	if c.APIServer != "" && !strings.HasPrefix(c.APIServer, "https://") {
		bad("apiServer: %q is not of the form https://host[:port]", c.APIServer)
	}
	for _, d := range []struct{ field, path string }{
		{"cniBinDir", c.CNIBinDir}, {"cniConfDir", c.CNIConfDir}, {"stateDir", c.StateDir}, {"runDir", c.RunDir},
	} {
		if !filepath.IsAbs(d.path) {
			bad("%s: %q is not an absolute path", d.field, d.path)
		}
	}
	c.Tunnel.validate(bad, between)
	between("hub.graceHours", c.Hub.GraceHours, 0, 720)
	for _, choice := range []struct{ field, value, one, other string }{
		{"fastPath", c.FastPath, fastPathAuto, fastPathOff},
		{"fence", c.Fence, fenceHub, fenceNFTables},
	} {
		if choice.value != choice.one && choice.value != choice.other {
			bad("%s: %q is neither %s nor %s", choice.field, choice.value, choice.one, choice.other)
		}
	}
	if _, err := c.level(); err != nil {
		bad("logLevel: %q is not debug, info, warn or error", c.LogLevel)
	}
	return errors.Join(errs...)
}

func (c TunnelConfig) validate(bad func(string, ...any), between func(string, int, int, int)) {
	if len(c.Ports) > 64 {
		bad("tunnel.ports: %d of them; at most 64", len(c.Ports))
	}
	for i, port := range c.Ports {
		between(fmt.Sprintf("tunnel.ports[%d]", i), port, 1, 65535)
		if slices.Index(c.Ports, port) != i {
			bad("tunnel.ports[%d]: %d is there twice", i, port)
		}
	}
	between("tunnel.streams", c.Streams, 1, 100_000)
	between("tunnel.dialsPerSecond", c.DialsPerSecond, 1, 100_000)
	between("tunnel.bufferedMiB", c.BufferedMiB, 1, 65536)
	between("tunnel.drainSeconds", c.DrainSeconds, 0, 300)
}

func (c TunnelConfig) limits() stream.Limits {
	return stream.Limits{Streams: c.Streams, DialsPerSecond: c.DialsPerSecond, Buffered: int64(c.BufferedMiB) << 20}
}

// ports returns the ports that may be reached; call after validate.
func (c TunnelConfig) ports() []uint16 {
	var out []uint16
	for _, p := range c.Ports {
		out = append(out, uint16(p))
	}
	return out
}

func (c TunnelConfig) drain() time.Duration { return time.Duration(c.DrainSeconds) * time.Second }

func (c HubConfig) grace() time.Duration { return time.Duration(c.GraceHours) * time.Hour }

func (c Config) level() (l slog.Level, err error) {
	err = l.UnmarshalText([]byte(c.LogLevel))
	return l, err
}

// settings is the part of the config that planners see; call after Validate.
func (c Config) settings() fleet.Settings {
	return fleet.Settings{
		ClusterCIDRs:  prefixes(c.ClusterCIDRs),
		NonMasquerade: prefixes(c.NonMasquerade),
		VNI:           c.VNI, Port: c.Port, MTU: c.MTU,
		Hub:   c.Hub.Enabled,
		Fence: c.Fence == fenceNFTables,
		Links: true, // the manager empties the gateways when raven-cfg turns links off
	}
}

func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t).Masked())
	}
	return out
}
