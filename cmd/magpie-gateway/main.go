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

	"github.com/magpie-edge/magpie/internal/version"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

func main() {
	wire.Spread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "magpie-gateway:", err)
		stop()
		os.Exit(1)
	}
}

func command(logs io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "magpie-gateway",
		Short:         "Accept the agents of edge nodes, and bring callers in the cloud to them",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var config string
	verb := &cobra.Command{
		Use: "run", Short: "Run until told to stop; then wait for open streams as long as the config says", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := LoadConfig(config)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, logs)
		},
	}
	verb.Flags().StringVar(&config, "config", "/etc/magpie/gateway.yaml", "path of the config file")
	root.AddCommand(verb)
	return root
}
