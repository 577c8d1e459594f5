// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/test/bench/result"
)

func TestGoals(t *testing.T) {
	tests := []struct {
		name string
		row  result.Row
		ok   bool
	}{
		{"at least, met", result.Row{Ours: []float64{9, 11, 10}, Theirs: []float64{9, 8, 10}, AtLeast: 1.1}, true},
		{"at least, missed", result.Row{Ours: []float64{9, 10, 11}, Theirs: []float64{10, 10, 10}, AtLeast: 1.1}, false},
		{"at most, met", result.Row{Ours: []float64{1}, Theirs: []float64{5}, AtMost: 0.2}, true},
		{"at most, missed", result.Row{Ours: []float64{1.1}, Theirs: []float64{5}, AtMost: 0.2}, false},
		{"limit, missed although the ratio is met", result.Row{Ours: []float64{6}, Theirs: []float64{60}, AtMost: 0.2, Limit: 5}, false},
		{"above, met", result.Row{Ours: []float64{14}, Theirs: []float64{10}, Above: 5}, true},
		{"above, missed", result.Row{Ours: []float64{16}, Theirs: []float64{10}, Above: 5}, false},
		{"above, nothing to compare with", result.Row{Ours: []float64{1}, Above: 5}, false},
		{"no samples of theirs", result.Row{Ours: []float64{1}, AtLeast: 1}, false},
		{"no samples of ours", result.Row{Theirs: []float64{1}, AtMost: 1}, false},
		{"no peer needed", result.Row{Ours: []float64{1}, Limit: 2}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.row.OK() != test.ok {
				t.Fatalf("ok is %v; ratio %.2f, goal %s", !test.ok, test.row.Ratio(), test.row.Goal())
			}
		})
	}
	if (result.Report{}).OK() {
		t.Error("a report without rows is ok")
	}
}

func TestPrints(t *testing.T) {
	r := result.Report{Rows: []result.Row{
		{Bench: "overlay", What: "TCP_RR", Unit: "/s", Peer: "x", Ours: []float64{88e3, 90e3, 92e3}, Theirs: []float64{75e3}, AtLeast: 1.1},
		{Bench: "lab", What: "first packet", Unit: "s", Ours: []float64{1.5, 2.5}},
	}}
	var table, js bytes.Buffer
	r.Table(&table)
	want := []string{
		"bench    what                   ours     theirs  ratio    ±%  goal",
		"overlay  TCP_RR                90k/s      75k/s   1.20     2  ok     ≥ 1.10",
		"lab      first packet             2s          -      -    25   none",
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(table.String()), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := r.JSON(&js); err != nil {
		t.Fatal(err)
	}
	var back struct {
		OK   bool
		Rows []struct {
			Ratio float64
			OK    bool
		}
	}
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || !back.OK || back.Rows[0].Ratio != 1.2 || !back.Rows[1].OK {
		t.Errorf("%v: %+v from %s", err, back, js.String())
	}
}
