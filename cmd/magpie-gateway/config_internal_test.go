// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/charts/schema"
)

// TestConfigRefusesWhatHelmRefuses holds Validate to the markers from which
// the chart's schema is made.
func TestConfigRefusesWhatHelmRefuses(t *testing.T) {
	structs, err := schema.Read("config.go")
	check(t, err)
	total := 0
	for name, in := range map[string]func(*Config) any{
		"Config":     func(c *Config) any { return c },
		"Limits":     func(c *Config) any { return &c.Limits },
		"Handshakes": func(c *Config) any { return &c.Handshakes },
		"SNI":        func(c *Config) any { return &c.Entries.SNI },
	} {
		samples, err := schema.Samples(structs[name].Fields)
		check(t, err)
		total += len(samples)
		for _, s := range samples {
			c := valid()
			check(t, json.Unmarshal([]byte(s.JSON), in(&c)))
			err := c.Validate()
			if s.Good != (err == nil) || err != nil && !strings.Contains(err.Error(), s.Field) {
				t.Errorf("%s %s, with %s: got %v", name, s.JSON, s.Limit, err)
			}
		}
	}
	if total < 25 {
		t.Errorf("%d samples: is the source read right?", total)
	}
}

func valid() Config {
	c := Default()
	c.Namespace, c.Instance = "kube-system", "magpie-gateway-0"
	return c
}

// TestConfigSaysEverything: all that is wrong is said at once, each with its
// field.
func TestConfigSaysEverything(t *testing.T) {
	c := Default()
	c.Listen, c.Health = "", "nonsense"
	c.Entries.SNI.Listen, c.Entries.HTTP.Listen = ":10250", "10295"
	c.Allow.Ports, c.Allow.Pods, c.Allow.Deny = []int{0}, []string{"10.0.0.0"}, []string{"x"}
	c.Limits.Dial.Duration, c.Drain.Duration = time.Hour, -1
	c.Namespace, c.Instance, c.StateDir, c.Service = "", "", "", ""
	err := c.Validate()
	if err == nil {
		t.Fatal("it is all right")
	}
	for _, field := range []string{
		"listen:", "health:", "entries.sni.sources:", "entries.http.listen:", "allow.ports:", "allow.pods:", "allow.deny:",
		"limits.dial:", "drain:", "namespace:", "instance:", "stateDir:", "service:",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("nothing of %s in:\n%v", field, err)
		}
	}
}

// TestLoadConfig: what the file says counts, the rest is the default, and a
// field that nobody knows is a typing mistake.
func TestLoadConfig(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "magpie-system")
	t.Setenv("POD_NAME", "magpie-gateway-0")
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	check(t, os.WriteFile(path, []byte("drain: 5s\nentries: {sni: {listen: ':10250', sources: [10.0.0.0/8]}}\n"), 0o600))
	c, err := LoadConfig(path)
	if err != nil || c.Drain.Duration != 5*time.Second || c.Entries.SNI.Port != 10250 || c.Instance != "magpie-gateway-0" || c.Limits.Streams != 1000 {
		t.Errorf("%+v, %v", c, err)
	}
	check(t, os.WriteFile(path, []byte("drian: 5s\n"), 0o600))
	if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), "drian") {
		t.Errorf("a typing mistake: %v", err)
	}
}
