// SPDX-License-Identifier: Apache-2.0

package result

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Row compares one figure of ours with a peer's.
type Row struct {
	Bench string `json:"bench"` // "overlay"
	What  string `json:"what"`  // "TCP_RR"
	Unit  string `json:"unit"`  // of the samples: "bit/s", "1/s", "s", "B"
	Peer  string `json:"peer"`  // "bridge+VXLAN (Flannel)"

	Ours   []float64 `json:"ours"`
	Theirs []float64 `json:"theirs"`

	// AtLeast and AtMost bound Ratio; 0 is no bound.
	AtLeast float64 `json:"atLeast,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"`
	// Limit bounds our own median in Unit, Above by how much it is above theirs;
	// 0 is no bound.
	Limit float64 `json:"limit,omitempty"`
	Above float64 `json:"above,omitempty"`
}

// Median returns the middle of the samples, NaN of none.
func Median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	if n := len(s) / 2; len(s)%2 == 1 {
		return s[n]
	}
	n := len(s) / 2
	return (s[n-1] + s[n]) / 2
}

// Percentile returns that of the samples by nearest rank, NaN of none.
func Percentile(samples []float64, percent int) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	return s[max((len(s)*percent+99)/100-1, 0)]
}

// Ratio returns ours to theirs.
func (r Row) Ratio() float64 { return Median(r.Ours) / Median(r.Theirs) }

// OK reports whether every goal of the row is met.
func (r Row) OK() bool {
	ours, theirs, ratio := Median(r.Ours), Median(r.Theirs), r.Ratio()
	switch {
	case math.IsNaN(ours):
		return false
	case (r.AtLeast > 0 || r.AtMost > 0 || r.Above > 0) && math.IsNaN(ratio):
		return false
	case r.AtLeast > 0 && ratio < r.AtLeast, r.AtMost > 0 && ratio > r.AtMost:
		return false
	case r.Above > 0 && ours > theirs+r.Above:
		return false
	}
	return r.Limit == 0 || ours <= r.Limit
}

// Goal returns the goals in words.
func (r Row) Goal() string {
	var out []string
	if r.AtLeast > 0 {
		out = append(out, fmt.Sprintf("≥ %.2f", r.AtLeast))
	}
	if r.AtMost > 0 {
		out = append(out, fmt.Sprintf("≤ %.2f", r.AtMost))
	}
	if r.Above > 0 {
		out = append(out, "≤ theirs + "+human(r.Above, r.Unit))
	}
	if r.Limit > 0 {
		out = append(out, "≤ "+human(r.Limit, r.Unit))
	}
	return strings.Join(out, ", ")
}

// spread is how far the samples are from their median, in percent: the larger
// of both sides.
func (r Row) spread() float64 {
	worst := 0.0
	for _, s := range [][]float64{r.Ours, r.Theirs} {
		if m := Median(s); len(s) > 1 && m > 0 {
			worst = max(worst, 50*(slices.Max(s)-slices.Min(s))/m)
		}
	}
	return worst
}

// Report is all rows of one run.
type Report struct {
	Rows []Row `json:"rows"`
}

// OK reports whether every row is.
func (r Report) OK() bool {
	return len(r.Rows) > 0 && !slices.ContainsFunc(r.Rows, func(x Row) bool { return !x.OK() })
}

// Table prints the report for a person, 80 columns wide where names allow.
func (r Report) Table(w io.Writer) {
	fmt.Fprintf(w, "%-8s %-16s %10s %10s %6s %5s  %s\n", "bench", "what", "ours", "theirs", "ratio", "±%", "goal")
	for _, x := range r.Rows {
		verdict := "ok    "
		if !x.OK() {
			verdict = "MISSED"
		}
		theirs, ratio := "-", "-"
		if len(x.Theirs) > 0 {
			theirs, ratio = human(Median(x.Theirs), x.Unit), fmt.Sprintf("%.2f", x.Ratio())
		}
		goal := x.Goal()
		if goal == "" {
			verdict, goal = "", "none"
		}
		fmt.Fprintf(w, "%-8s %-16s %10s %10s %6s %5.0f  %s %s\n",
			x.Bench, x.What, human(Median(x.Ours), x.Unit), theirs, ratio, x.spread(), verdict, goal)
	}
}

// JSON prints the report for programs.
func (r Report) JSON(w io.Writer) error {
	type row struct {
		Row
		Ratio float64 `json:"ratio,omitempty"`
		OK    bool    `json:"ok"`
	}
	out := struct {
		OK   bool  `json:"ok"`
		Rows []row `json:"rows"`
	}{OK: r.OK()}
	for _, x := range r.Rows {
		ratio := x.Ratio()
		if math.IsNaN(ratio) || math.IsInf(ratio, 0) {
			ratio = 0
		}
		out.Rows = append(out.Rows, row{x, ratio, x.OK()})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// human prints three digits with an SI prefix.
func human(v float64, unit string) string {
	if math.IsNaN(v) {
		return "-"
	}
	for _, p := range []struct {
		by   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "µ"}} {
		if v >= p.by || p.by == 1e-6 {
			return fmt.Sprintf("%.3g%s%s", v/p.by, p.name, unit)
		}
	}
	return ""
}
