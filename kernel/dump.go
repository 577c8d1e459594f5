// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/plan"
)

// Dump writes a plan as text: one item a line, kinds in the order of
// dependence, sorted within a kind, a table followed by its body, indented.
// It is what the conformance suite compares and magpiectl plan shows.
func Dump(w io.Writer, p plan.Plan) error {
	Sort(&p)
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
	for _, t := range p.Tables {
		fmt.Fprintln(&b, t)
		for line := range strings.Lines(t.Body) {
			fmt.Fprintln(&b, "   ", strings.TrimSpace(line))
		}
	}
	lines(&b, p.Members)
	lines(&b, p.Accepts)
	lines(&b, p.Notes)
	_, err := io.WriteString(w, b.String())
	return err
}

func lines[T fmt.Stringer](b *strings.Builder, items []T) {
	for _, i := range items {
		fmt.Fprintln(b, i)
	}
}

// Sort orders the items of each kind by what they print, so that equal states
// give equal plans whatever order the kernel lists them in.
func Sort(p *plan.Plan) {
	sorted(&p.Sysctls)
	sorted(&p.Devices)
	sorted(&p.Addrs)
	sorted(&p.Neighs)
	sorted(&p.FDBs)
	sorted(&p.Routes)
	sorted(&p.Rules)
	sorted(&p.Shapes)
	sorted(&p.Peers)
	sorted(&p.Allowed)
	sorted(&p.Tables)
	sorted(&p.Members)
	sorted(&p.Accepts)
	sorted(&p.Notes)
}

// sorted replaces the list by a sorted copy: the caller's may be shared.
func sorted[T fmt.Stringer](items *[]T) {
	*items = slices.Clone(*items)
	slices.SortFunc(*items, func(a, b T) int { return cmp.Compare(a.String(), b.String()) })
}
