// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/magpie-edge/magpie/plan"
)

// Sort orders the items of each kind by what they print, so that equal states
// give equal plans whatever order the kernel lists them in. Plan.Text is the
// text form that the conformance suite compares and magpiectl plan shows.
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
	sorted(&p.Programs)
	sorted(&p.Shortcuts)
	sorted(&p.Notes)
}

// sorted replaces the list by a sorted copy: the caller's may be shared.
func sorted[T fmt.Stringer](items *[]T) {
	type line struct {
		text string
		item T
	}
	all := make([]line, 0, len(*items))
	for _, i := range *items {
		all = append(all, line{i.String(), i})
	}
	slices.SortFunc(all, func(a, b line) int { return cmp.Compare(a.text, b.text) })
	out := make([]T, 0, len(all))
	for _, l := range all {
		out = append(out, l.item)
	}
	*items = out
}
