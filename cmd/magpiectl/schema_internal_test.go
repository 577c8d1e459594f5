// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cmd/magpiectl/doctor"
	"github.com/magpie-edge/magpie/cmd/magpiectl/matrix"
	"github.com/magpie-edge/magpie/cmd/magpiectl/service"
	"github.com/magpie-edge/magpie/cmd/magpiectl/sessions"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/internal/golden"
)

// schemaPage documents every report, field by field.
const schemaPage = "../../docs/reference/magpiectl-json.md"

// TestSchema: the page says what the types say. A field that disappears or
// changes its type shows as a removed line of the page: do not commit that.
func TestSchema(t *testing.T) {
	docs := fieldDocs(t, ".", "doctor", "matrix", "service", "sessions", "status", "../../internal/walk")
	var b strings.Builder
	b.WriteString(`<!-- Made by go test ./cmd/magpiectl -run TestSchema -update from the Go types. -->

# JSON of magpiectl

` + "`-o json` prints one document on standard output, whatever the exit status (0, 1); with 2 there is none." + `
Fields are added in later versions; none is renamed, removed or given another type. Lists are ` + "`[]`" + `, not null.
A type with ` + "`?`" + ` may be absent.
`)
	for _, r := range []struct {
		command string
		value   any
	}{
		{"status", status.Report{}},
		{"doctor", doctor.Report{}},
		{"connectivity", matrix.Report{}},
		{"tunnel", sessions.Report{}},
		{"service", service.Report{}},
		{"hub status", hubReport{}},
		{"trace", traceReport{}},
		{"plan", planReport{}},
		{"snapshot", snapshotReport{}},
		{"version", versionReport{}},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| field | type | |\n|---|---|---|\n", r.command)
		fields(&b, docs, "", reflect.TypeOf(r.value))
	}
	got := b.String()
	if golden.Updating() {
		if err := os.WriteFile(schemaPage, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s and the types differ (-page +types):\n%s", schemaPage, diff)
	}
}

// fields writes a row for each field below a type.
func fields(b *strings.Builder, docs map[string]string, prefix string, t reflect.Type) {
	for f := range t.Fields() {
		if f.Anonymous && f.Tag == "" { // its fields stand in the outer object
			fields(b, docs, prefix, f.Type)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		word, inner := typeWord(f.Type)
		if strings.Contains(options, "omit") || f.Type.Kind() == reflect.Pointer {
			word += "?"
		}
		at := prefix + name
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", at, word, docs[path.Base(t.PkgPath())+"."+t.Name()+"."+f.Name])
		if inner != nil {
			if f.Type.Kind() == reflect.Slice {
				at += "[]"
			}
			fields(b, docs, at+".", inner)
		}
	}
}

// typeWord is a type as JSON knows it, and the struct inside if it has one.
func typeWord(t reflect.Type) (string, reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer:
		return typeWord(t.Elem())
	case reflect.Slice:
		word, inner := typeWord(t.Elem())
		return "list of " + word, inner
	case reflect.Map:
		word, _ := typeWord(t.Elem())
		return "map of " + word, nil
	case reflect.Bool:
		return "boolean", nil
	case reflect.Int, reflect.Int64, reflect.Uint16:
		return "integer", nil
	case reflect.Float64:
		return "number", nil
	case reflect.Struct:
		if t.String() == "time.Time" {
			return "time", nil
		}
		if t.String() == "netip.Addr" {
			return "string", nil
		}
		return "object", t
	default:
		return "string", nil
	}
}

// fieldDocs reads the comments of all struct fields: "status.Report.OK" to its
// text.
func fieldDocs(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, dir := range dirs {
		pkg := path.Base(dir)
		if dir == "." {
			pkg = "magpiectl"
		}
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, p := range paths {
			file, err := parser.ParseFile(gotoken.NewFileSet(), p, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					if s, ok := spec.Type.(*ast.StructType); ok {
						structDocs(out, pkg+"."+spec.Name.Name, s)
					}
				}
				return true
			})
		}
	}
	return out
}

func structDocs(out map[string]string, name string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, n := range f.Names {
			key := name + "." + n.Name
			if old, ok := out[key]; !ok || old == "" {
				out[key] = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
			}
		}
	}
}
