// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"go/ast"
	"strings"
	"testing"
)

// TestOwnersDoNotOverlap finds every plan.Owner in the source. Two owners with
// one name or one protocol number would take each other's objects for their
// own and remove them, for ever, in turns.
func TestOwnersDoNotOverlap(t *testing.T) {
	names, protos, owners := map[string]string{}, map[string]string{}, 0
	for _, s := range sources(t) {
		if s.test() || strings.HasPrefix(s.dir, "test/") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || selector(lit.Type) != "plan.Owner" || len(lit.Elts) == 0 {
				return true
			}
			owners++
			name, proto := field(lit, "Name"), field(lit, "Proto")
			if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") != "" || name == "" {
				t.Errorf("%s:%d: owner name %q is not a literal of lower-case letters", s.path, s.line(n), name)
			}
			if !strings.HasPrefix(proto, "api.Proto") {
				t.Errorf("%s:%d: owner %s: protocol %q is not a number of api/numbers.go", s.path, s.line(n), name, proto)
			}
			if other := names[name]; other != "" {
				t.Errorf("%s: owner name %q is taken by %s", s.path, name, other)
			}
			if other := protos[proto]; other != "" {
				t.Errorf("%s: protocol %s is taken by %s", s.path, proto, other)
			}
			names[name], protos[proto] = s.path, s.path
			return true
		})
	}
	if owners < 3 {
		t.Fatalf("found %d owners: is plan.Owner still how they are declared?", owners)
	}
}

// TestProtocolNumbersAreOurs checks the numbers themselves against each other
// and against what other software is known to use.
func TestProtocolNumbersAreOurs(t *testing.T) {
	taken := map[int64]string{80: "Calico"}
	for n := int64(0); n <= 4; n++ {
		taken[n] = "the kernel"
	}
	for n := int64(8); n <= 18; n++ {
		taken[n] = "rtnetlink.h"
	}
	for n := int64(186); n <= 199; n++ {
		taken[n] = "routing daemons"
	}
	found := 0
	for _, c := range constants(t, "api/numbers.go") {
		if !strings.HasPrefix(c.name, "Proto") {
			continue
		}
		found++
		if who := taken[c.int(t)]; who != "" {
			t.Errorf("api.%s = %s is taken by %s", c.name, c.value, who)
		}
		if c.int(t) > 255 {
			t.Errorf("api.%s = %s does not fit rtnetlink's one byte", c.name, c.value)
		}
		taken[c.int(t)] = "api." + c.name
	}
	if found < 3 {
		t.Fatalf("found %d protocol numbers in api/numbers.go", found)
	}
}

// selector prints "x.Sel" for that expression, "" for any other.
func selector(e ast.Expr) string {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := sel.X.(*ast.Ident); ok {
		return x.Name + "." + sel.Sel.Name
	}
	return ""
}

// field returns the value of a field of a composite literal: the text of a
// string, "x.Sel" of a selector, "" otherwise.
func field(lit *ast.CompositeLit, name string) string {
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if k, ok := kv.Key.(*ast.Ident); !ok || k.Name != name {
			continue
		}
		if b, ok := kv.Value.(*ast.BasicLit); ok {
			return strings.Trim(b.Value, `"`)
		}
		return selector(kv.Value)
	}
	return ""
}
