// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/test/lab"
)

func kubectl(opt *lab.Options) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl ARGS...",
		Short:              "Run the lab's kubectl as administrator",
		Example:            "  magpie-lab kubectl get nodes -o wide",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := running(opt)
			if err != nil {
				return err
			}
			return attached(l.Host(untilDone(cmd), l.Tool("kubectl"), args...))
		},
	}
}

func kubeconfig(opt *lab.Options) *cobra.Command {
	return &cobra.Command{
		Use:     "kubeconfig",
		Short:   "Print the path of the administrator's kubeconfig",
		Example: "  KUBECONFIG=$(magpie-lab kubeconfig) bin/magpiectl status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := running(opt)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), l.Kubeconfig())
			return nil
		},
	}
}

func shell(opt *lab.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "shell MACHINE [CMD...]",
		Short:   "Open a shell on a machine, or run a command there",
		Long:    "Opens a shell on a machine (a node, a router, internet, outside), or runs a command there.",
		Example: "  magpie-lab shell a-1\n  magpie-lab shell shop-a-gw nft list ruleset\n  magpie-lab shell a-1 ctr -n k8s.io containers ls",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := running(opt)
			if err != nil {
				return err
			}
			argv := args[1:]
			if len(argv) == 0 {
				argv = []string{"/bin/bash", "-l"}
			}
			c, err := l.Command(untilDone(cmd), args[0], argv...)
			if err != nil {
				return err
			}
			return attached(c)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func host(opt *lab.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "exec CMD...",
		Short:   "Run a command of the host with the lab's KUBECONFIG and helm",
		Example: "  magpie-lab exec bin/magpiectl status\n  magpie-lab exec helm list -A",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := running(opt)
			if err != nil {
				return err
			}
			name := args[0]
			if name == "helm" || name == "kubectl" {
				name = l.Tool(name)
			}
			return attached(l.Host(untilDone(cmd), name, args[1:]...))
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func logs(opt *lab.Options) *cobra.Command {
	follow := false
	cmd := &cobra.Command{
		Use:     "logs [MACHINE [PROCESS]]",
		Short:   "List log files, or print one",
		Example: "  magpie-lab logs\n  magpie-lab logs a-1 kubelet | tail",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.New(*opt)
			if err != nil {
				return err
			}
			if len(args) == 2 && follow {
				return attached(exec.CommandContext(untilDone(cmd), "tail", "-n", "20", "-F", l.LogFile(args[0], args[1])))
			}
			if len(args) == 2 {
				text, err := os.ReadFile(l.LogFile(args[0], args[1]))
				if err != nil {
					return fmt.Errorf("read log (`magpie-lab logs %s` lists them): %w", args[0], err)
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			for _, f := range slices.Sorted(slices.Values(l.LogFiles())) {
				if len(args) == 0 || strings.HasPrefix(f, args[0]+"/") {
					fmt.Fprintln(cmd.OutOrStdout(), f)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing")
	return cmd
}

// untilDone is a context that Ctrl-C does not end: the terminal gives the
// interrupt to the command itself, and a shell must survive it.
func untilDone(cmd *cobra.Command) context.Context { return context.WithoutCancel(cmd.Context()) }

// exitError ends magpie-lab as a command did that said itself what was wrong.
type exitError int

func (c exitError) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

// attached runs a command on this terminal.
func attached(c *exec.Cmd) error {
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exitError(exit.ExitCode())
	}
	return err
}
