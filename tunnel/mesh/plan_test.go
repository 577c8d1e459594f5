// SPDX-License-Identifier: Apache-2.0

package mesh_test

import (
	"encoding/json"
	"testing"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/tunnel/mesh"
)

func TestPlan(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		var v fleet.View
		if err := json.Unmarshal(c.File(t, "in.json"), &v); err != nil {
			t.Fatal(err)
		}
		p, err := mesh.Plan(v)
		if err != nil {
			t.Fatal(err)
		}
		return p.Text()
	})
}
