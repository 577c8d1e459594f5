// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

// newRootCommand returns the command tree. plugin says that kubectl runs us.
func newRootCommand(e *env, plugin bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "magpiectl",
		Short: "Look at, explain and extend a Magpie network",
		Long: `magpiectl shows what the network of the cluster is, what is wrong with it,
why, and what to do.

Exit status: 0 all is well, 1 the answer is no (a hole, a fault), 2 no answer.`,
		Example: `  magpiectl status
  magpiectl connectivity
  magpiectl trace default/web-0 10.42.3.7`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	if plugin {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl magpie"}
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	flags := root.PersistentFlags()
	flags.StringVar(&e.kubeconfig, "kubeconfig", "", "path of the kubeconfig (default: as kubectl)")
	flags.StringVar(&e.context, "context", "", "context of the kubeconfig to use")
	flags.StringVarP(&e.format, "output", "o", "", `output format: "" for people, "json" for programs`)
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if e.format != "" && e.format != formatJSON {
			return fmt.Errorf(`output format %q: want "json" or nothing`, e.format)
		}
		return nil
	}
	root.AddCommand(commands(e)...)
	return root
}

// commands lists every command, in the order in which a new user needs them.
func commands(e *env) []*cobra.Command {
	return []*cobra.Command{
		newStatusCommand(e),
		newDoctorCommand(e),
		newConnectivityCommand(e),
		newTunnelCommand(e),
		newServiceCommand(e),
		newHubCommand(e),
		newTraceCommand(e),
		newPlanCommand(e),
		newSnapshotCommand(e),
		newProbeCommand(e),
		newJoinCommand(e),
		newLeaveCommand(e),
		newVersionCommand(e),
		newHookCommand(e),
	}
}

// printJSON writes a report for programs.
func printJSON(e *env, report any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(report); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
