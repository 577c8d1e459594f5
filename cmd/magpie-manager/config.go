// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/api"
)

// Config is manager.yaml. The chart writes it from its values.
type Config struct {
	// LogLevel is debug, info, warn or error.
	// +kubebuilder:validation:Enum=debug;info;warn;error
	LogLevel string `json:"logLevel"`
	// Listen is where /healthz, /readyz and /metrics are served: "address:port",
	// the address may be empty.
	Listen string `json:"listen"`
	// VNI of the overlay, 1 to 16777215; a node of another one is reported.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16777215
	VNI int `json:"vni"`
	// Namespace of the leader's Lease; empty is $POD_NAMESPACE.
	Namespace string `json:"namespace,omitempty"`
	// LeaderElection is false where only one manager can run.
	LeaderElection bool `json:"leaderElection"`
	// Kubeconfig is the path of one; empty is the pod's own account.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Every is how often everything is looked at although nothing happened, 10s
	// to 1h.
	Every metav1.Duration `json:"every"`
}

// Default returns what an empty manager.yaml means.
func Default() Config {
	return Config{
		LogLevel: "info", Listen: ":" + strconv.Itoa(api.PortManagerHealth), VNI: api.VNI,
		Namespace: os.Getenv("POD_NAMESPACE"), LeaderElection: true,
		Every: metav1.Duration{Duration: 5 * time.Minute},
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
	if _, port, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen: %q is not address:port", c.Listen)
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		bad("listen: port %q is not 1 to 65535", port)
	}
	if c.VNI < 1 || c.VNI > 1<<24-1 {
		bad("vni: %d is not 1 to 16777215", c.VNI)
	}
	if c.Every.Duration < 10*time.Second || c.Every.Duration > time.Hour {
		bad("every: %s is not 10s to 1h", c.Every.Duration)
	}
	if c.LeaderElection && c.Namespace == "" {
		bad("namespace: needed for leader election where $POD_NAMESPACE is not set")
	}
	return errors.Join(errs...)
}

func (c Config) level() (slog.Level, error) {
	var l slog.Level
	return l, l.UnmarshalText([]byte(c.LogLevel))
}
