// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
)

func newStatusCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show domains, gateways, links and nodes, and what is wrong",
		Long: `status shows the network as the cluster knows it: domains and their gateways,
the tunnels between them, pools and nodes. What is wrong stands at the end, with
what to do; then the exit status is 1. It reads only; the ClusterRole
magpie-view is enough.`,
		Example: `  magpiectl status
  magpiectl status -o json | jq '.links[] | select(.state != "live")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showStatus(cmd.Context(), e) },
	}
}

func showStatus(ctx context.Context, e *env) error {
	k, d, err := e.clients()
	if err != nil {
		return err
	}
	f, err := gather(ctx, k, d)
	if err != nil {
		return err
	}
	r, err := f.status(e)
	if err != nil {
		return err
	}
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		_, err = fmt.Fprint(e.out, status.Text(r, e.colour))
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}

// status judges the facts.
func (f facts) status(e *env) (status.Report, error) {
	v, left, err := f.view(e)
	if err != nil {
		return status.Report{}, err
	}
	return status.Build(status.Input{
		Nodes: f.nodes, Gateways: f.gateways, Pools: f.pools, Reports: f.reports,
		View: v, Left: left, Linkless: f.linkless(), Now: e.now(),
	}), nil
}
