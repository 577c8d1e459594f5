// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/magpie-edge/magpie/internal/garbage"
	"github.com/magpie-edge/magpie/internal/version"
)

func main() {
	garbage.Agent.Keep()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "magpie-agent:", err)
		stop()
		os.Exit(1)
	}
}

// flags are the same for every verb: everything else is in the config file.
type flags struct {
	config, node string
}

func command(logs io.Writer) *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:           "magpie-agent",
		Short:         "Keep this node's pod network, overlay and links as the fleet asks",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&f.config, "config", "/etc/magpie/agent.yaml", "path of the config file")
	root.PersistentFlags().StringVar(&f.node, "node-name", os.Getenv("NODE_NAME"), "name of this node (default $NODE_NAME)")
	verb := func(name, short string, do func(context.Context, Config, string, *slog.Logger) error) {
		root.AddCommand(&cobra.Command{
			Use: name, Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := LoadConfig(f.config)
				if err != nil {
					return err
				}
				level, _ := c.level() // validated by LoadConfig
				log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: level}))
				klog.SetSlogLogger(log.With("logger", "client-go"))
				return do(cmd.Context(), c, f.node, log)
			},
		})
	}
	verb("run", "Run until told to stop; a stopped agent leaves every flow as it was", run)
	verb("cleanup", "Remove everything the agent has put into this node's kernel and CNI directories", cleanup)
	return root
}
