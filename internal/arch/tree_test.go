// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path that imports of our own packages begin with.
const module = "github.com/magpie-edge/magpie/"

// root is the repository as seen from this package.
const root = "../.."

// source is one parsed Go file of this module.
type source struct {
	path string // "vxlan/plan.go"
	dir  string // "vxlan"
	text string
	ast  *ast.File
	fset *token.FileSet
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) generated() bool { return ast.IsGenerated(s.ast) }

// imports returns the import paths of the file.
func (s source) imports() []string {
	var out []string
	for _, i := range s.ast.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

// nameOf returns the name under which the file imports a package, "" if it
// does not.
func (s source) nameOf(pkg string) string {
	for _, i := range s.ast.Imports {
		if strings.Trim(i.Path.Value, `"`) != pkg {
			continue
		}
		if i.Name != nil {
			return i.Name.Name
		}
		return path.Base(pkg)
	}
	return ""
}

func (s source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// walk calls f with the path of every file of the module, leaving out nested
// modules, test data and what git ignores.
func walk(t *testing.T, f func(path string)) {
	t.Helper()
	skip := []string{".git", ".cache", "bin", "dist", "testdata", "node_modules"}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() {
			rel, err := filepath.Rel(root, path)
			f(filepath.ToSlash(rel))
			return err
		}
		if path == root {
			return nil
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || slices.Contains(skip, e.Name()) {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// parsed keeps what sources returns: eleven tests want it.
var parsed []source

// sources returns every Go file of the module, sorted by path.
func sources(t *testing.T) []source {
	t.Helper()
	if parsed != nil {
		return parsed
	}
	var out []source
	walk(t, func(path string) {
		if filepath.Ext(path) != ".go" {
			return
		}
		text := read(t, path)
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		out = append(out, source{path, filepath.ToSlash(filepath.Dir(path)), text, file, fset})
	})
	if len(out) < 20 {
		t.Fatalf("found %d Go files: is %s still the root of the repository?", len(out), root)
	}
	parsed = out
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
