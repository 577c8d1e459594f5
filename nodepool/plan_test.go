// SPDX-License-Identifier: Apache-2.0

package nodepool_test

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/nodepool"
)

func read(t *testing.T, c golden.Case) fleet.Cluster {
	t.Helper()
	var in fleet.Cluster
	if err := yaml.UnmarshalStrict(c.File(t, "in.yaml"), &in); err != nil {
		t.Fatal(err)
	}
	return in
}

// text prints a plan: each manifest as YAML, then the notes.
func text(t *testing.T, p nodepool.Plan) string {
	t.Helper()
	var b strings.Builder
	for _, m := range p.Manifests {
		y, err := yaml.JSONToYAML([]byte(m.JSON))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s\n%s", m, y)
	}
	for _, n := range p.Notes {
		fmt.Fprintln(&b, n)
	}
	return b.String()
}

func TestPlaces(t *testing.T) {
	golden.Run(t, "testdata/places/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		var b strings.Builder
		for _, p := range nodepool.Places(read(t, c)) {
			fmt.Fprintf(&b, "%s pool=%q domain=%s edge=%t named=%t private=%t\n", p.Node, p.Pool, p.Domain, p.Edge, p.Named, p.Private)
		}
		return b.String()
	})
}

func TestGateways(t *testing.T) {
	golden.Run(t, "testdata/gateways/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		p, err := nodepool.Gateways(read(t, c))
		if err != nil {
			t.Fatal(err)
		}
		return text(t, p)
	})
}

func TestSlices(t *testing.T) {
	golden.Run(t, "testdata/slices/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		p, err := nodepool.Slices(read(t, c), 1)
		if err != nil {
			t.Fatal(err)
		}
		return text(t, p)
	})
}

func TestStatus(t *testing.T) {
	golden.Run(t, "testdata/status/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		p, err := nodepool.Status(read(t, c))
		if err != nil {
			t.Fatal(err)
		}
		return text(t, p)
	})
}

func TestMembers(t *testing.T) {
	golden.Run(t, "testdata/members/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		p, err := nodepool.Members(read(t, c))
		if err != nil {
			t.Fatal(err)
		}
		return text(t, p)
	})
}
