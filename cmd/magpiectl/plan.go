// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/walk"
	"github.com/magpie-edge/magpie/plan"
)

// planReport is what "plan -o json" prints.
type planReport struct {
	// OK is false if the kernel differs from the plan.
	OK   bool   `json:"ok"`
	Node string `json:"node"`
	// Compared is true if the plan was compared with this machine's kernel.
	Compared bool `json:"compared"`
	// Parts has one entry an owner.
	Parts []planPart `json:"parts"`
	// Notes say why something expected is not planned.
	Notes []planNote `json:"notes"`
}

// planPart is what one owner wants.
type planPart struct {
	Owner string `json:"owner"`
	// Items are the wanted kernel objects, one line each.
	Items []string `json:"items"`
	// Tables are the bodies of nftables tables, by "family name".
	Tables map[string]string `json:"tables"`
	// Steps are what an agent would do now; only if compared.
	Steps []planStep `json:"steps"`
	// Unseen is what could not be compared, in words.
	Unseen []string `json:"unseen"`
}

// planStep is one write.
type planStep struct {
	// Op is "+", "~" or "-".
	Op   string `json:"op"`
	Item string `json:"item"`
	// Was is the object as it is now, for "~".
	Was string `json:"was,omitempty"`
}

// planNote is a plan.Note.
type planNote struct {
	Code    string `json:"code"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

func newPlanCommand(e *env) *cobra.Command {
	var node, from string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what an agent would change, or wants, on a node",
		Long: `On a node, as root, plan compares what the node's agent wants with the kernel and
prints the difference; nothing is written. A difference that stays means that the
agent does not run or that somebody else writes: then the exit status is 1.

With --node or --from it prints the whole plan of a node, from the API or from a
file, on any machine. Objects of single pods, the fast path and the NodePort fence
are known to the running agent only and are left out.`,
		Example: `  magpiectl plan                        # on a node
  magpiectl plan --node a-1             # from the API
  magpiectl plan --from fleet.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showPlan(cmd.Context(), e, node, from)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "node whose plan to print")
	cmd.Flags().StringVar(&from, "from", "", "fleet.json to plan from")
	return cmd
}

func showPlan(ctx context.Context, e *env, node, from string) error {
	v, here, err := e.planView(ctx, node, from)
	if err != nil {
		return err
	}
	parts, notes, err := walk.Parts(v)
	if err != nil {
		return err
	}
	r := planReport{OK: true, Node: v.Self.Node, Compared: here, Parts: []planPart{}, Notes: []planNote{}}
	for _, n := range notes {
		r.Notes = append(r.Notes, planNote{n.Code, n.Subject, n.Text})
	}
	for _, p := range parts {
		part := planPart{Owner: p.Owner.Name, Items: []string{}, Tables: map[string]string{}, Steps: []planStep{}, Unseen: []string{}}
		for _, s := range plan.Diff(plan.Plan{}, p.Plan) {
			part.Items = append(part.Items, s.Item.String())
		}
		for _, t := range p.Plan.Tables {
			part.Tables[t.Family+" "+t.Name] = t.Body
		}
		for _, n := range p.Plan.Notes {
			r.Notes = append(r.Notes, planNote{n.Code, n.Subject, n.Text})
		}
		if here {
			if part.Steps, part.Unseen, err = compare(ctx, p); err != nil {
				return err
			}
			r.OK = r.OK && len(part.Steps) == 0
		}
		r.Parts = append(r.Parts, part)
	}
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		_, err = fmt.Fprint(e.out, planText(r))
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}

// planView finds the View to plan from; here says that it is this machine's.
func (e *env) planView(ctx context.Context, node, from string) (v fleet.View, here bool, err error) {
	if node == "" && from == "" {
		v, err = readView(api.FileView)
		if errors.Is(err, fs.ErrNotExist) {
			return v, false, fmt.Errorf("this machine has no %s, so it is no node of ours; name one with --node, or a file with --from", api.FileView)
		}
		return v, true, err
	}
	if node == "" {
		v, err = readView(from)
		if err == nil && v.Self.Node == "" {
			err = fmt.Errorf("%s is nobody's own view; name a node with --node", from)
		}
		return v, false, err
	}
	all, err := e.views(ctx, from)
	if err != nil {
		return v, false, err
	}
	v, err = viewOf(all, node)
	return v, false, err
}

// planText lays the report out for people. Lines of a plan are kept whole: they
// are what goldens and logs hold, made to be searched for.
func planText(r planReport) string {
	var b strings.Builder
	steps := 0
	for _, p := range r.Parts {
		steps += len(p.Steps)
		if r.Compared {
			writeSteps(&b, p)
			continue
		}
		fmt.Fprintf(&b, "# %s on %s\n", p.Owner, r.Node)
		writeItems(&b, p)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note  %s (%s)\n", n.Subject, n.Code)
		for _, line := range page.Wrap(n.Text, page.Width-6) {
			b.WriteString("      " + line + "\n")
		}
	}
	switch {
	case r.Compared && steps == 0:
		b.WriteString("ok: the kernel is as planned\n")
	case r.Compared:
		fmt.Fprintf(&b, "not ok: %d steps; the agent makes them within a second if it runs\n", steps)
	}
	return b.String()
}

func writeSteps(b *strings.Builder, p planPart) {
	for _, u := range p.Unseen {
		fmt.Fprintf(b, "not compared: %s\n", u)
	}
	for _, s := range p.Steps {
		fmt.Fprintf(b, "%s %s\n", s.Op, s.Item)
		if s.Was != "" {
			fmt.Fprintf(b, "  was: %s\n", s.Was)
		}
	}
}

func writeItems(b *strings.Builder, p planPart) {
	for _, i := range p.Items {
		b.WriteString(i + "\n")
		for line := range strings.Lines(p.Tables[strings.TrimPrefix(i, "table ")]) {
			b.WriteString("    " + line)
		}
	}
	b.WriteString("\n")
}
