// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:generate go test . -run TestGenerate -update

// File is the schema, from the root of the repository.
const File = "charts/magpie/values.schema.json"

// Source of the keywords: JSON Schema draft 7, which every helm 3 knows.
type node struct {
	Schema      string     `json:"$schema,omitempty"`
	Title       string     `json:"title,omitempty"`
	Description string     `json:"description,omitempty"`
	Type        string     `json:"type,omitempty"`
	Const       *int       `json:"const,omitempty"`
	AnyOf       []*node    `json:"anyOf,omitempty"`
	Enum        []string   `json:"enum,omitempty"`
	Minimum     *int       `json:"minimum,omitempty"`
	Maximum     *int       `json:"maximum,omitempty"`
	MinLength   *int       `json:"minLength,omitempty"`
	Pattern     string     `json:"pattern,omitempty"`
	MaxItems    *int       `json:"maxItems,omitempty"`
	UniqueItems bool       `json:"uniqueItems,omitempty"`
	Items       *node      `json:"items,omitempty"`
	Additional  any        `json:"additionalProperties,omitempty"` // false or a *node
	Required    []string   `json:"required,omitempty"`
	Properties  properties `json:"properties,omitempty"`
}

// properties keep the order of the struct, which is that of values.yaml.
type properties []property

type property struct {
	name string
	node *node
}

// MarshalJSON implements json.Marshaler.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	separator := byte('{')
	for _, m := range p {
		b.WriteByte(separator)
		separator = ','
		fmt.Fprintf(&b, "%q:", m.name)
		if err := encode(&b, m.node, ""); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode leaves "<", ">" and "&" as they are: no browser will see them.
func encode(b *bytes.Buffer, v any, indent string) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}

// Generate returns the schema for the repository at root.
func Generate(root string) ([]byte, error) {
	m := maker{root: root, configs: map[string]map[string]Struct{}}
	var err error
	if m.structs, err = Read(filepath.Join(root, "charts/schema/values.go")); err != nil {
		return nil, err
	}
	top, err := m.object("Values")
	if err != nil {
		return nil, err
	}
	top.Schema, top.Title = "https://json-schema.org/draft-07/schema#", "Magpie"
	var b bytes.Buffer
	if err := encode(&b, top, "  "); err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return b.Bytes(), nil
}

type maker struct {
	root    string
	structs map[string]Struct
	configs map[string]map[string]Struct // by command and name
}

func (m *maker) object(name string) (*node, error) {
	s, ok := m.structs[name]
	if !ok {
		return nil, fmt.Errorf("values.go has no struct %s", name)
	}
	out := &node{Type: "object", Description: s.Doc, Additional: false}
	for _, f := range s.Fields {
		if _, ok := f.Marks["required"]; ok {
			out.Required = append(out.Required, f.Name)
		}
		n, err := m.field(f)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", name, f.Name, err)
		}
		out.Properties = append(out.Properties, property{f.Name, n})
	}
	return out, nil
}

// field returns the schema of a value, which is that of the config field it
// becomes, if it becomes one.
func (m *maker) field(f Field) (*node, error) {
	if place, ok := f.Marks["magpie:config"]; ok {
		c, err := m.config(place, f.Name)
		if err != nil {
			return nil, err
		}
		if c.Type != f.Type || len(f.Marks) > 1 {
			return nil, fmt.Errorf("is %s with %d markers, in the config of %s it is %s: let that speak alone", f.Type, len(f.Marks), place, c.Type)
		}
		if f.Doc == "" {
			f.Doc = c.Doc
		}
		f.Marks = c.Marks
	}
	n, err := m.of(f.Type, f.Marks)
	if err != nil {
		return nil, err
	}
	if f.Doc != "" {
		n.Description = f.Doc
	}
	return n, nil
}

// config returns a field of a command's Config ("magpie-agent") or of a struct
// in it ("magpie-gateway.Limits"). A duration is a text like "30s".
func (m *maker) config(place, name string) (Field, error) {
	command, in, ok := strings.Cut(place, ".")
	if !ok {
		in = "Config"
	}
	if m.configs[command] == nil {
		structs, err := Read(filepath.Join(m.root, "cmd", command, "config.go"))
		if err != nil {
			return Field{}, err
		}
		m.configs[command] = structs
	}
	fields := m.configs[command][in].Fields
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, fmt.Errorf("the config of %s has no field of that name", place)
	}
	f := fields[i]
	if f.Type == "metav1.Duration" {
		f.Type, f.Marks = "string", maps.Clone(f.Marks)
		f.Marks["Pattern"] = duration
	}
	return f, nil
}

// duration is what Go's time.ParseDuration takes, less what nobody writes.
const duration = `^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`

// of returns the schema of a type with the given limits. "any" is a number or a
// text, each with the limits that apply to it.
func (m *maker) of(typ string, marks map[string]string) (*node, error) {
	marks = maps.Clone(marks)
	n := &node{}
	var err error
	switch elem, list := strings.CutPrefix(typ, "[]"); {
	case typ == "any":
		n.AnyOf, err = m.either(marks)
		return n, err
	case typ == "map[string]any":
		n.Type = "object"
	case typ == "map[string]string":
		n.Type, n.Additional = "object", &node{Type: "string"}
	case list:
		n.Type = "array"
		if elem != "any" {
			n.Items, err = m.of(elem, cut(marks, "items:"))
		}
	case typ == "int", typ == "int64":
		n.Type = "integer"
	case typ == "bool":
		n.Type = "boolean"
	case typ == "string":
		n.Type = "string"
	default:
		n, err = m.object(typ)
	}
	if err != nil {
		return nil, err
	}
	_, zero := marks["magpie:orZero"]
	delete(marks, "magpie:orZero")
	if err := n.limit(marks); err != nil {
		return nil, err
	}
	if zero {
		return &node{AnyOf: []*node{{Const: new(int)}, n}}, nil
	}
	return n, nil
}

// either returns the alternatives of a value that is a number or a text.
func (m *maker) either(marks map[string]string) ([]*node, error) {
	text, number := maps.Clone(marks), map[string]string{}
	for _, k := range []string{"Minimum", "Maximum"} {
		if v, ok := text[k]; ok {
			number[k] = v
			delete(text, k)
		}
	}
	n, err := m.of("int", number)
	if err != nil {
		return nil, err
	}
	t, err := m.of("string", text)
	return []*node{n, t}, err
}

// cut takes the markers with a prefix out of marks and returns them without.
func cut(marks map[string]string, prefix string) map[string]string {
	out := map[string]string{}
	maps.DeleteFunc(marks, func(k, v string) bool {
		name, ok := strings.CutPrefix(k, prefix)
		if ok {
			out[name] = v
		}
		return ok
	})
	return out
}

func (n *node) limit(marks map[string]string) error {
	numbers := map[string]**int{"Minimum": &n.Minimum, "Maximum": &n.Maximum, "MinLength": &n.MinLength, "MaxItems": &n.MaxItems}
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		value := marks[name]
		switch {
		case numbers[name] != nil:
			i, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("marker %s: %w", name, err)
			}
			*numbers[name] = &i
		case name == "Pattern":
			n.Pattern = value
		case name == "Enum":
			n.Type, n.Enum = "", strings.Split(value, ";")
		case name == "listType" && value == "set":
			n.UniqueItems = true
		case name == "required": // its object's business
		default:
			return fmt.Errorf("marker %s=%s: unknown", name, value)
		}
	}
	return nil
}
