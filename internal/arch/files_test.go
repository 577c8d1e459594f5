// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"go/ast"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const spdx = "SPDX-License-Identifier: Apache-2.0"

// TestLicence looks for the one licence line: first, or second after "#!".
func TestLicence(t *testing.T) {
	walk(t, func(path string) {
		base := filepath.Base(path)
		code := slices.Contains([]string{".go", ".sh", ".c", ".h"}, filepath.Ext(path)) ||
			base == "Makefile" || strings.HasPrefix(base, "Dockerfile") || path == ".ci/run" || path == ".golangci.yml"
		if !code {
			return
		}
		lines := strings.SplitN(read(t, path), "\n", 4)
		if strings.HasPrefix(lines[0], "#!") || strings.HasPrefix(lines[0], "//go:build") || strings.HasPrefix(lines[0], "# syntax=") {
			lines = lines[1:]
		}
		if !slices.ContainsFunc(lines[:min(2, len(lines))], func(l string) bool { return strings.HasSuffix(l, spdx) }) {
			t.Errorf("%s does not begin with the line %q", path, "// "+spdx)
		}
	})
}

// TestPackageComments wants a doc.go with four headings in every package, and
// a comment "Command NAME …" in every command.
func TestPackageComments(t *testing.T) {
	docs, packages := map[string]string{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		main := s.ast.Name.Name == "main"
		packages[s.dir] = packages[s.dir] || main
		if s.ast.Doc == nil {
			continue
		}
		if docs[s.dir] != "" {
			t.Errorf("%s: a second package comment in %s", s.path, s.dir)
		}
		docs[s.dir] = s.ast.Doc.Text()
		if !main && filepath.Base(s.path) != "doc.go" && !apiGroup(s.dir) {
			t.Errorf("%s: the package comment belongs into doc.go", s.path)
		}
	}
	for dir, main := range packages {
		text := docs[dir]
		if main {
			if !strings.HasPrefix(strings.ToLower(text), "command "+path.Base(dir)) && !strings.HasPrefix(strings.ToLower(text), path.Base(dir)+" ") {
				t.Errorf("%s: no comment that begins with %q", dir, "Command "+path.Base(dir))
			}
			continue
		}
		if apiGroup(dir) {
			if text == "" {
				t.Errorf("%s: no package comment", dir)
			}
			continue
		}
		for _, heading := range []string{"# Model\n", "# Why this way\n", "# Invariants\n", "# Not here\n"} {
			if !strings.Contains(text, heading) {
				t.Errorf("%s/doc.go has no heading %q", dir, strings.TrimSpace(heading))
			}
		}
	}
}

// apiGroup reports whether dir holds the types of an API group, whose package
// comment is for code generators and stands where they look for it.
func apiGroup(dir string) bool { return within(dir, "api/...") && dir != "api" }

// TestNames refuses the package names that say nothing.
func TestNames(t *testing.T) {
	for _, s := range sources(t) {
		for part := range strings.SplitSeq(s.dir, "/") {
			if slices.Contains([]string{"pkg", "util", "utils", "common", "helpers", "types", "base", "misc"}, part) {
				t.Errorf("%s: a folder named %q does not say what is in it", s.path, part)
			}
		}
	}
}

// TestSizes holds what linters do not: 500 lines a file (800 for tests), and
// at most three levels of control flow inside a function.
func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated() {
			continue
		}
		limit := 500
		if s.test() {
			limit = 800
		}
		if n := strings.Count(s.text, "\n"); n > limit {
			t.Errorf("%s has %d lines, %d is the limit", s.path, n, limit)
		}
		if s.test() {
			continue
		}
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				if depth, at := nesting(f.Body, 0); depth > 3 {
					t.Errorf("%s:%d: %s nests %d levels deep, 3 is the limit", s.path, s.fset.Position(at).Line, f.Name.Name, depth)
				}
			}
		}
	}
}

// nesting returns how deep control flow nests below n, and where. An "else if"
// is as deep as its if, and a function literal begins anew.
func nesting(n ast.Node, depth int) (deepest int, at token.Pos) {
	deepest, at = depth, n.Pos()
	deeper := func(body ast.Node, by int) {
		if d, p := nesting(body, depth+by); d > deepest {
			deepest, at = d, p
		}
	}
	ast.Inspect(n, func(m ast.Node) bool {
		if m == n {
			return true
		}
		switch m := m.(type) {
		case *ast.FuncLit:
			if d, p := nesting(m.Body, 0); d > 3 && d > deepest {
				deepest, at = d, p
			}
			return false
		case *ast.IfStmt:
			deeper(m.Body, 1)
			switch e := m.Else.(type) {
			case *ast.IfStmt:
				wrapped := &ast.BlockStmt{Lbrace: e.Pos(), List: []ast.Stmt{e}}
				deeper(wrapped, 0)
			case *ast.BlockStmt:
				deeper(e, 1)
			}
			return false
		case *ast.ForStmt:
			deeper(m.Body, 1)
			return false
		case *ast.RangeStmt:
			deeper(m.Body, 1)
			return false
		case *ast.SwitchStmt:
			deeper(m.Body, 1)
			return false
		case *ast.TypeSwitchStmt:
			deeper(m.Body, 1)
			return false
		case *ast.SelectStmt:
			deeper(m.Body, 1)
			return false
		}
		return true
	})
	return deepest, at
}
