// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newHookCommand is what the chart's hooks run, hidden from people. Its "wait" is
// there because Helm waits for Jobs only, and the clean-up is a DaemonSet.
func newHookCommand(e *env) *cobra.Command {
	var namespace, name string
	var timeout time.Duration
	wait := &cobra.Command{
		Use: "wait", Short: "Wait until a DaemonSet is ready on every node", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return waitDaemonSet(ctx, e, namespace, name)
		},
	}
	wait.Flags().StringVar(&namespace, "namespace", "", "namespace of the DaemonSet")
	wait.Flags().StringVar(&name, "daemonset", "", "name of the DaemonSet")
	wait.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	sleep := &cobra.Command{
		Use: "sleep", Short: "Do nothing until told to stop", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { <-cmd.Context().Done(); return nil },
	}
	hook := &cobra.Command{Use: "hook", Short: "What the chart runs", Hidden: true}
	hook.AddCommand(wait, sleep, newRetireCommand(e), newCRDsCommand(e))
	return hook
}

// waitDaemonSet ends without an error when the time is up: a machine that is
// switched off must not keep the others' release from being uninstalled. What
// is left on it is said, and "magpiectl leave NODE --script" removes it.
func waitDaemonSet(ctx context.Context, e *env, namespace, name string) error {
	k, _, err := e.clients()
	if err != nil {
		return err
	}
	said := ""
	for {
		ds, err := k.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		text := ""
		if err != nil {
			text = fmt.Sprintf("get DaemonSet %s/%s: %v", namespace, name, err)
		} else {
			s := ds.Status
			text = fmt.Sprintf("%d of %d nodes are clean", s.NumberReady, s.DesiredNumberScheduled)
			if s.ObservedGeneration >= ds.Generation && s.DesiredNumberScheduled > 0 && s.NumberReady >= s.DesiredNumberScheduled {
				fmt.Fprintln(e.out, text)
				return nil
			}
		}
		if text != said && ctx.Err() == nil {
			fmt.Fprintln(e.out, text)
			said = text
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(e.out, "time is up: %s; clean the others with magpiectl leave NODE --script\n", said)
			return nil
		case <-time.After(time.Second):
		}
	}
}
