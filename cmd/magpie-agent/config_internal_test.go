// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
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
	checked := 0
	for _, f := range structs["Config"].Fields {
		for mark, value := range f.Marks {
			good, bad := samples(t, mark, value)
			if bad == nil {
				continue
			}
			checked++
			if err := with(t, f, bad); err == nil || !strings.Contains(err.Error(), f.Name) {
				t.Errorf("%s = %v, against %s=%s: got %v", f.Name, bad, mark, value, err)
			}
			if err := with(t, f, good); good != nil && err != nil {
				t.Errorf("%s = %v: %v", f.Name, good, err)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d limits found: is the source read right?", checked)
	}
}

// samples returns a value at a limit and one beyond it; nil where there is
// none to be had from the marker alone.
func samples(t *testing.T, mark, value string) (good, bad any) {
	t.Helper()
	const nonsense = "no such thing"
	switch mark {
	case "Minimum", "Maximum":
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		if mark == "Minimum" {
			return n, n - 1
		}
		return n, n + 1
	case "Enum":
		first, _, _ := strings.Cut(value, ";")
		return first, nonsense
	case "Pattern":
		if regexp.MustCompile(value).MatchString(nonsense) {
			t.Fatalf("%q fits %s", nonsense, value)
		}
		return nil, nonsense
	case "items:Pattern":
		return nil, []string{nonsense}
	}
	return nil, nil
}

// with validates the defaults with one field changed.
func with(t *testing.T, f schema.Field, value any) error {
	t.Helper()
	c := Default()
	c.ClusterCIDRs = []string{"10.42.0.0/16"}
	text, err := json.Marshal(map[string]any{f.Name: value})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return c.Validate()
}
