// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"reflect"
	"strings"
)

// Field is one field of a struct as its source has it.
type Field struct {
	// Name is the one in YAML.
	Name string
	// Type is as written: "int", "[]string", "Image".
	Type string
	// Doc is the comment in one line, without the markers.
	Doc string
	// Marks are the markers, without the prefix "kubebuilder:validation:":
	// "Minimum" is "1", "required" is "".
	Marks map[string]string
}

// Struct is one struct type of a file.
type Struct struct {
	Doc    string
	Fields []Field
}

// Read returns the struct types of a Go file, by name. Fields without a json
// name are left out.
func Read(path string) (map[string]Struct, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read structs: %w", err)
	}
	out := map[string]Struct{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			spec, _ := spec.(*ast.TypeSpec)
			if st, ok := spec.Type.(*ast.StructType); ok {
				doc, _ := comment(g.Doc)
				out[spec.Name.Name] = Struct{doc, fields(st)}
			}
		}
	}
	return out, nil
}

func fields(st *ast.StructType) []Field {
	var out []Field
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		doc, marks := comment(f.Doc)
		out = append(out, Field{name, types.ExprString(f.Type), doc, marks})
	}
	return out
}

// comment splits a comment into prose and markers.
func comment(g *ast.CommentGroup) (string, map[string]string) {
	var prose []string
	marks := map[string]string{}
	for line := range strings.Lines(g.Text()) {
		mark, ok := strings.CutPrefix(strings.TrimSpace(line), "+")
		if !ok {
			prose = append(prose, strings.Fields(line)...)
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(mark, "kubebuilder:validation:"), "=")
		marks[name] = strings.Trim(value, "`")
	}
	return strings.Join(prose, " "), marks
}
