// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"encoding/json"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"

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
		t.Helper()
		return cni.Plan(read[cni.Pod](t, c, "pod.json"), read[fleet.View](t, c, "in.json")).Text()
	})
}

func TestMasquerade(t *testing.T) {
	golden.Run(t, "testdata/node/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		p := cni.Masquerade(read[fleet.View](t, c, "in.json"))
		return p.Text()
	})
}

// TestConflist shows what a runtime reads, and that its library accepts it.
func TestConflist(t *testing.T) {
	got, err := cni.Conflist()
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "cniVersion": "1.1.0",
  "cniVersions": [
    "0.3.1",
    "0.4.0",
    "1.0.0",
    "1.1.0"
  ],
  "name": "magpie",
  "plugins": [
    {
      "type": "magpie-cni",
      "capabilities": {
        "portMappings": true,
        "bandwidth": true,
        "ips": true,
        "mac": true,
        "ipRanges": true
      }
    }
  ]
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if list.CNIVersion != "1.1.0" || list.Plugins[0].Network.Type != cni.Program {
		t.Errorf("libcni reads %+v", list)
	}
}
