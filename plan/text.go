// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Text returns the plan one item a line, each kind sorted, the body of a table
// indented under its line, notes last. Goldens, magpiectl plan and bug reports
// all show plans in this form; equal plans give equal text.
func (p Plan) Text() string {
	var b strings.Builder
	lines(&b, p.Sysctls)
	lines(&b, p.Devices)
	lines(&b, p.Addrs)
	lines(&b, p.Neighs)
	lines(&b, p.FDBs)
	lines(&b, p.Routes)
	lines(&b, p.Rules)
	lines(&b, p.Shapes)
	lines(&b, p.Peers)
	lines(&b, p.Allowed)
	for _, t := range sortedText(p.Tables) {
		fmt.Fprintln(&b, t)
		for row := range strings.Lines(t.Body) {
			b.WriteString("  " + strings.TrimRight(row, "\n") + "\n")
		}
	}
	lines(&b, p.Members)
	lines(&b, p.Accepts)
	lines(&b, p.Programs)
	lines(&b, p.Shortcuts)
	lines(&b, p.Notes)
	return b.String()
}

func lines[T fmt.Stringer](b *strings.Builder, items []T) {
	for _, it := range sortedText(items) {
		fmt.Fprintln(b, it)
	}
}

func sortedText[T fmt.Stringer](items []T) []T {
	out := slices.Clone(items)
	slices.SortStableFunc(out, func(x, y T) int { return strings.Compare(x.String(), y.String()) })
	return out
}

// Merge returns the union of plans of one owner. Equal items that several of
// them want (ip_forward, say) appear once.
func Merge(plans ...Plan) Plan {
	var out Plan
	for _, p := range plans {
		out.Sysctls = union(out.Sysctls, p.Sysctls)
		out.Devices = union(out.Devices, p.Devices)
		out.Addrs = union(out.Addrs, p.Addrs)
		out.Neighs = union(out.Neighs, p.Neighs)
		out.FDBs = union(out.FDBs, p.FDBs)
		out.Routes = union(out.Routes, p.Routes)
		out.Rules = union(out.Rules, p.Rules)
		out.Shapes = union(out.Shapes, p.Shapes)
		out.Peers = union(out.Peers, p.Peers)
		out.Allowed = union(out.Allowed, p.Allowed)
		out.Tables = union(out.Tables, p.Tables)
		out.Members = union(out.Members, p.Members)
		out.Accepts = union(out.Accepts, p.Accepts)
		out.Programs = union(out.Programs, p.Programs)
		out.Shortcuts = union(out.Shortcuts, p.Shortcuts)
		out.Notes = union(out.Notes, p.Notes)
	}
	return out
}

func union[T comparable](a, b []T) []T {
	seen := make(map[T]bool, len(a)+len(b))
	var out []T
	for _, it := range slices.Concat(a, b) {
		if !seen[it] {
			seen[it] = true
			out = append(out, it)
		}
	}
	return out
}
