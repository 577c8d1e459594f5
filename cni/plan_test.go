// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"encoding/json"
	"testing"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
)

func read[T any](t *testing.T, c golden.Case, name string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(c.File(t, name), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPlan(t *testing.T) {
	golden.Run(t, "testdata/pod/*.txtar", func(t *testing.T, c golden.Case) string {
		return cni.Plan(read[cni.Pod](t, c, "pod.json"), read[fleet.View](t, c, "in.json")).Text()
	})
}

func TestMasquerade(t *testing.T) {
	golden.Run(t, "testdata/node/*.txtar", func(t *testing.T, c golden.Case) string {
		p := cni.Masquerade(read[fleet.View](t, c, "in.json"))
		return p.Text()
	})
}
