// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/internal/health"
)

// TestRunbooks: every code of a note and of a condition has a page, every page
// has a code, and a page has the five headings.
func TestRunbooks(t *testing.T) {
	codes := noteCodes(t)
	for _, c := range health.All() {
		codes[string(c.Code)] = "internal/health"
		if _, err := os.Stat(filepath.Join(root, c.Runbook())); err != nil {
			t.Errorf("condition %s: %v", c.Code, err)
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, page := range pages {
		code := strings.TrimSuffix(filepath.Base(page), ".md")
		if code == "README" {
			continue
		}
		have[code] = true
		if codes[code] == "" {
			t.Errorf("docs/runbooks/%s.md: no note and no condition has this code", code)
		}
		text := read(t, "docs/runbooks/"+code+".md")
		for _, heading := range []string{"## Symptom\n", "## Why\n", "## Check\n", "## Fix\n", "## Prevent\n"} {
			if !strings.Contains(text, heading) {
				t.Errorf("docs/runbooks/%s.md has no heading %q", code, strings.TrimSpace(heading))
			}
		}
	}
	for code, where := range codes {
		if !have[code] {
			t.Errorf("%s: code %q has no docs/runbooks/%s.md", where, code, code)
		}
	}
}

// TestConditionsAreRaised: a condition that nothing sets is a promise nobody
// keeps.
func TestConditionsAreRaised(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() || s.dir == "internal/health" {
			continue
		}
		as := s.nameOf(module + "internal/health")
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if e, ok := n.(*ast.SelectorExpr); ok && as != "" {
				if name, ok := strings.CutPrefix(selector(e), as+"."); ok {
					used[name] = true
				}
			}
			return true
		})
	}
	for _, file := range []string{"conditions.go", "cluster.go"} {
		for _, c := range stringConstants(t, "internal/health/"+file) {
			if !used[c.name] {
				t.Errorf("nothing outside internal/health uses health.%s", c.name)
			}
		}
	}
}

// noteCodes returns the string constants named Note…, which are the codes of
// plan.Notes, with the file each stands in. It fails for a note whose code is
// written in place, because such a code escapes this test.
func noteCodes(t *testing.T) map[string]string {
	t.Helper()
	codes := map[string]string{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if v := stringValue(n, i); strings.HasPrefix(name.Name, "Note") && v != "" {
						codes[v] = s.path
					}
				}
			case *ast.CompositeLit:
				if selector(n.Type) == "plan.Note" && hasLiteral(n, "Code") {
					t.Errorf("%s:%d: the code of a note is a constant named Note…", s.path, s.line(n))
				}
			}
			return true
		})
	}
	return codes
}

func hasLiteral(lit *ast.CompositeLit, name string) bool {
	return slices.ContainsFunc(lit.Elts, func(e ast.Expr) bool {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return false
		}
		k, isIdent := kv.Key.(*ast.Ident)
		_, isLit := kv.Value.(*ast.BasicLit)
		return isIdent && isLit && k.Name == name
	})
}

// stringValue returns the i-th value of a declaration if it is a string.
func stringValue(v *ast.ValueSpec, i int) string {
	if i >= len(v.Values) {
		return ""
	}
	b, ok := v.Values[i].(*ast.BasicLit)
	if !ok || b.Kind != token.STRING {
		return ""
	}
	return strings.Trim(b.Value, `"`)
}

var metric = regexp.MustCompile(`^magpie_[a-z0-9_]+$`)

// TestMetrics: every metric in the source is in docs/reference/metrics.md and
// the other way round. Names are written whole, so that a reader can search
// for what a dashboard shows.
func TestMetrics(t *testing.T) {
	code := map[string]string{}
	for _, s := range sources(t) {
		if s.test() || strings.HasPrefix(s.dir, "test/") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING && metric.MatchString(strings.Trim(b.Value, `"`)) {
				code[strings.Trim(b.Value, `"`)] = s.path
			}
			return true
		})
	}
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile("`(magpie_[a-z0-9_]+)`").FindAllStringSubmatch(read(t, "docs/reference/metrics.md"), -1) {
		documented[name[1]] = true
		if code[name[1]] == "" {
			t.Errorf("docs/reference/metrics.md: no code has the metric %s", name[1])
		}
	}
	for name, where := range code {
		if !documented[name] {
			t.Errorf("%s: metric %s is not in docs/reference/metrics.md", where, name)
		}
	}
}
