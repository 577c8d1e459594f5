// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
)

// newProbeCommand is what runs inside the pods of connectivity.
func newProbeCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "probe",
		Short:  "Probe the network from inside a pod (used by connectivity)",
		Hidden: true,
	}
	var port int
	serve := &cobra.Command{
		Use:     "serve",
		Short:   "Echo TCP and UDP",
		Example: "  magpiectl probe serve",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := probe.Serve(cmd.Context(), "", port, func(p int) { e.progress("echoing on port %d", p) })
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	serve.Flags().IntVar(&port, "port", probe.Port, "port, TCP and UDP")
	var wait probe.Waits
	var result string
	run := &cobra.Command{
		Use:     "run TARGET...",
		Short:   "Reach targets and write a compact report",
		Example: "  magpiectl probe run --result /dev/stdout pod=10.42.1.5:4242 outside=203.0.113.80:443",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var targets []probe.Target
			for _, a := range args {
				t, err := probe.ParseTarget(a)
				if err != nil {
					return err
				}
				targets = append(targets, t)
			}
			b, err := probe.Encode(probe.Run(cmd.Context(), targets, wait))
			if err != nil {
				return err
			}
			// The file is kubelet's; it is opened as it is, not made.
			f, err := os.OpenFile(result, os.O_WRONLY, 0)
			if err != nil {
				return fmt.Errorf("write report: %w", err)
			}
			_, err = f.Write(b)
			return errors.Join(err, f.Close())
		},
	}
	run.Flags().DurationVar(&wait.Check, "wait", 3*time.Second, "how long each probe may take")
	run.Flags().DurationVar(&wait.Service, "service-wait", probe.ServiceWait, "how long a Service may take to work")
	run.Flags().StringVar(&result, "result", "/dev/termination-log", "file to write the report to")
	cmd.AddCommand(serve, run)
	return cmd
}
