// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/charts/schema"
)

// TestConfigRefusesWhatHelmRefuses holds Validate to the markers from which
// the chart's schema is made.
func TestConfigRefusesWhatHelmRefuses(t *testing.T) {
	structs, err := schema.Read("config.go")
	if err != nil {
		t.Fatal(err)
	}
	samples, err := schema.Samples(structs["Config"].Fields)
	if err != nil || len(samples) < 15 {
		t.Fatalf("is the source read right? %v, %v", samples, err)
	}
	for _, s := range samples {
		c := Default()
		c.ClusterCIDRs = []string{"10.42.0.0/16"}
		if err := json.Unmarshal([]byte(s.JSON), &c); err != nil {
			t.Fatal(err)
		}
		err := c.Validate()
		if s.Good != (err == nil) || err != nil && !strings.Contains(err.Error(), s.Field) {
			t.Errorf("%s, with %s: got %v", s.JSON, s.Limit, err)
		}
	}
}
