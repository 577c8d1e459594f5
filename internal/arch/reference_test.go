// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/internal/golden"
)

// named is one exported constant with what its comments say.
type named struct {
	name, value, doc string
	group            string // doc comment of the const block
}

func (c named) int(t *testing.T) int64 {
	t.Helper()
	var n int64
	if _, err := fmt.Sscan(c.value, &n); err != nil {
		t.Fatalf("%s = %s: %v", c.name, c.value, err)
	}
	return n
}

// constants returns the exported constants of one file that imports nothing,
// in the order in which they stand.
func constants(t *testing.T, path string) []named {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, read(t, path), parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.Default(), Error: func(error) {}}
	_, _ = conf.Check(path, fset, []*ast.File{file}, info) // constants of other files may be missing
	var out []named
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for _, name := range v.Names {
				if c, ok := info.Defs[name].(*types.Const); ok && name.IsExported() {
					out = append(out, named{name.Name, show(c.Val(), v), prose(v.Doc, v.Comment), prose(g.Doc)})
				}
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s: no constants", path)
	}
	return out
}

func stringConstants(t *testing.T, path string) []named {
	t.Helper()
	var out []named
	for _, c := range constants(t, path) {
		if strings.Trim(c.value, "0123456789") != "" {
			out = append(out, c)
		}
	}
	return out
}

// show prints a number as the source writes it if that is hexadecimal: marks
// are read bit by bit.
func show(v constant.Value, spec *ast.ValueSpec) string {
	if v.Kind() == constant.String {
		return constant.StringVal(v)
	}
	if len(spec.Values) == 1 {
		if b, ok := spec.Values[0].(*ast.BasicLit); ok && strings.HasPrefix(b.Value, "0x") {
			return strings.ReplaceAll(b.Value, "_", "")
		}
	}
	return v.ExactString()
}

// prose joins comments into one line without the marks and the markers.
func prose(groups ...*ast.CommentGroup) string {
	var out []string
	for _, g := range groups {
		for line := range strings.Lines(g.Text()) {
			if !strings.HasPrefix(line, "+") {
				out = append(out, strings.Fields(line)...)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestReferenceNumbers(t *testing.T) {
	page(t, "docs/reference/numbers.md", "Numbers",
		"Every port, protocol number, table, mark and kernel name of Magpie. Made from `api/numbers.go`.",
		table(constants(t, "api/numbers.go")))
}

func TestReferenceLabels(t *testing.T) {
	page(t, "docs/reference/labels.md", "Labels and annotations",
		"Every word of the Kubernetes API that Magpie reads or writes. Made from `api/words.go`.",
		table(constants(t, "api/words.go")))
}

// TestReferenceConfig documents the configuration file of every command that
// has one, from the struct Config and the structs it is made of.
func TestReferenceConfig(t *testing.T) {
	var body strings.Builder
	for _, s := range sources(t) {
		if filepath.Base(s.path) != "config.go" || !strings.HasPrefix(s.dir, "cmd/") {
			continue
		}
		fmt.Fprintf(&body, "\n## %s\n", strings.TrimPrefix(s.dir, "cmd/"))
		for _, d := range s.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				if st, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok {
					fmt.Fprintf(&body, "\n%s\n", prose(g.Doc))
					body.WriteString(fields(st))
				}
			}
		}
	}
	page(t, "docs/reference/config.md", "Configuration",
		"One YAML file a binary. The chart writes it from its values. Made from `cmd/*/config.go`.", body.String())
}

// fields renders the fields of a struct that have a json name.
func fields(st *ast.StructType) string {
	var b strings.Builder
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		_, tag, _ := strings.Cut(f.Tag.Value, `json:"`)
		name, _, _ := strings.Cut(tag, `"`)
		name, _, _ = strings.Cut(name, ",")
		if name == "" || name == "-" {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n| field | type | |\n|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, types.ExprString(f.Type), cell(prose(f.Doc, f.Comment)))
	}
	return b.String()
}

// table renders constants, one table for each const block.
func table(cs []named) string {
	var b strings.Builder
	last := "no block yet"
	for _, c := range cs {
		if c.group != last || len(c.group) == 0 {
			last = c.group
			fmt.Fprintf(&b, "\n%s\n\n| name | value | |\n|---|---|---|\n", c.group)
		}
		doc := c.doc
		if doc == c.group {
			doc = ""
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", c.name, c.value, cell(doc))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// page compares a generated page with the file, or writes it with -update.
func page(t *testing.T, path, title, intro, body string) {
	t.Helper()
	got := "<!-- Generated by make generate. Change the source named below instead. -->\n\n# " + title + "\n\n" + intro + "\n" + body
	if golden.Updating() {
		if err := os.WriteFile(filepath.Join(root, path), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(read(t, path), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s is out of date: run make generate (-want +got):\n%s", path, diff)
	}
}
