// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/cmd/magpiectl/doctor"
)

func newDoctorCommand(e *env) *cobra.Command {
	var here bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Name what is wrong, why it matters and the one thing to do",
		Long: `doctor looks at everything that is known to go wrong: what is installed, the
manager, the agents and what they report, gateways, links, addresses, MTU,
kube-proxy and DNS. The worst stands first; what another finding explains is
hidden. It reads only. An error among the findings ends it with status 1.

With --node it looks at the machine it runs on, and needs no API server: for a
node that is cut off.`,
		Example: `  magpiectl doctor
  sudo magpiectl doctor --node
  magpiectl doctor -o json | jq '.findings[] | select(.severity == "error")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if here {
				return e.diagnosed(doctor.Examine(machine(cmd.Context(), os.DirFS("/")), e.now(), doctor.MachineChecks()...))
			}
			return seeDoctor(cmd.Context(), e)
		},
	}
	cmd.Flags().BoolVar(&here, "node", false, "look at this machine instead of the cluster")
	return cmd
}

func seeDoctor(ctx context.Context, e *env) error {
	k, d, err := e.clients()
	if err != nil {
		return err
	}
	p, err := examinee(ctx, e, k, d)
	if err != nil {
		return err
	}
	r := doctor.Examine(p, e.now(), doctor.Checks()...)
	if !slices.ContainsFunc(r.Checks, func(c doctor.Result) bool { return c.Skipped == "" }) {
		return fmt.Errorf("no check could be made: %s", r.Checks[0].Skipped)
	}
	return e.diagnosed(r)
}

// diagnosed prints the report and tells a fault by the exit status.
func (e *env) diagnosed(r doctor.Report) error {
	var err error
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		_, err = fmt.Fprint(e.out, doctor.Text(r, e.colour))
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}
