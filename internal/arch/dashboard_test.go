// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is what this test reads of one.
type dashboard struct {
	UID, Title string
	Panels     []struct {
		ID          int
		Type, Title string
		Description string
		Datasource  struct{ Type, UID string }
		GridPos     struct{ X, Y, W, H int }
		FieldConfig struct{ Defaults struct{ Unit string } }
		Targets     []struct{ RefID, Expr, LegendFormat string }
	}
}

// kinds returns the kind of each metric that docs/reference/metrics.md has, and
// TestMetrics holds that page to the code.
func kinds(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(magpie_[a-z0-9_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(read(t, "docs/reference/metrics.md"), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// TestDashboard: what the chart's dashboard asks for exists, is asked for as
// its kind wants it, and panels are whole and stand beside each other.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(root + "/charts/magpie/dashboards/magpie.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	known, asked := kinds(t), map[string]bool{}
	taken := map[[2]int]string{}
	var ids []int
	for _, p := range d.Panels {
		if slices.Contains(ids, p.ID) || p.Title == "" {
			t.Errorf("panel %d %q: no id of its own, or no title", p.ID, p.Title)
		}
		ids = append(ids, p.ID)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q stands on %q or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q lacks a description, a unit, the data source or a question", p.Title)
		}
		for _, q := range p.Targets {
			for _, name := range checkQuestion(t, p.Title, q.Expr, q.LegendFormat, known) {
				asked[name] = true
			}
		}
	}
	for _, subsystem := range []string{"magpie_loop_", "magpie_tunnel_", "magpie_hub_", "magpie_condition", "magpie_cni_"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(asked)), func(name string) bool { return strings.HasPrefix(name, subsystem) }) {
			t.Errorf("no panel shows %s…", subsystem)
		}
	}
}

var (
	metricName = regexp.MustCompile(`magpie_[a-z0-9_]+`)
	grouping   = regexp.MustCompile(`by \(([a-z, ]+)\)`)
	legend     = regexp.MustCompile(`{{([a-z]+)}}`)
)

// checkQuestion returns the metrics of a question.
func checkQuestion(t *testing.T, title, expr, says string, known map[string]string) []string {
	t.Helper()
	var labels, out []string
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.Split(g[1], ", ")...)
	}
	for _, l := range legend.FindAllStringSubmatch(says, -1) {
		if !slices.Contains(labels, l[1]) {
			t.Errorf("panel %q: the legend names %s, and %s does not keep it", title, l[1], expr)
		}
	}
	for _, name := range metricName.FindAllString(expr, -1) {
		base := strings.TrimSuffix(name, "_bucket")
		kind, ok := known[base]
		rated := strings.Contains(expr, "rate("+name)
		switch {
		case !ok:
			t.Errorf("panel %q: there is no metric %s", title, base)
		case (kind == "histogram") != (base != name):
			t.Errorf("panel %q: %s is a %s", title, name, kind)
		case (kind == "gauge") == rated:
			t.Errorf("panel %q: %s is a %s, and is asked for in %s", title, name, kind, expr)
		case kind == "histogram" && (!slices.Contains(labels, "le") || !strings.Contains(expr, "histogram_quantile(")):
			t.Errorf("panel %q: %s", title, expr)
		}
		out = append(out, base)
	}
	if len(out) == 0 || strings.Count(expr, "(") != strings.Count(expr, ")") {
		t.Errorf("panel %q: %s", title, expr)
	}
	return out
}
