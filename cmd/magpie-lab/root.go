// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/test/lab"
	"github.com/magpie-edge/magpie/test/lab/fetch"
)

// root is the command tree.
func root() *cobra.Command {
	opt := &lab.Options{Show: fetch.NewProgress(os.Stderr)}
	cmd := &cobra.Command{
		Use:   "magpie-lab",
		Short: "A real cluster in four network domains on one machine",
		Long: `magpie-lab runs a real Kubernetes cluster in four network domains on one machine:
a VPC with the control plane and two cloud nodes, two shops with the same addresses
behind different kinds of NAT, and a plant behind a firewall. Everything lives in
namespaces; the host's own interfaces, routes and firewall are not touched.

It needs root. Builds, images and state are in $MAGPIE_CACHE, default ~/.cache/magpie.`,
		SilenceUsage: true, SilenceErrors: true,
		TraverseChildren: true, // `--name x kubectl ...`: what precedes the verb is ours
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	flags := cmd.PersistentFlags()
	flags.StringVar(&opt.Name, "name", "", `name of the lab (default "default")`)
	flags.StringVar(&opt.Cache, "cache", "", "folder of builds and state (default $MAGPIE_CACHE, then ~/.cache/magpie)")
	flags.StringVar(&opt.Repo, "repo", "", "the repository (default: found from the working folder)")
	cmd.AddCommand(build(opt), up(opt), down(opt), status(opt), kubectl(opt), kubeconfig(opt),
		shell(opt), host(opt), install(opt), entry(opt), breakCmd(opt), heal(opt), logs(opt))
	return cmd
}
