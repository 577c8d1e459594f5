// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/api/crd"
	"github.com/magpie-edge/magpie/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "magpie-manager:", err)
		stop()
		os.Exit(1)
	}
}

func command(out, logs io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "magpie-manager",
		Short:         "Decide who belongs where, elect gateways and tell every agent",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var config string
	verb := &cobra.Command{
		Use: "run", Short: "Run until told to stop; one of several replicas works, the others wait", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := LoadConfig(config)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, logs)
		},
	}
	verb.Flags().StringVar(&config, "config", "/etc/magpie/manager.yaml", "path of the config file")
	root.AddCommand(verb, &cobra.Command{
		Use: "crds", Short: "Print the CustomResourceDefinitions, for kubectl apply -f -", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := crd.All()
			if err != nil {
				return err
			}
			_, err = out.Write(text)
			return err
		},
	})
	return root
}
