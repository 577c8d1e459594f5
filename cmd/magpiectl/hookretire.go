// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// retireGrace is how long, in seconds, each pod may take: the release is going,
// and its streams with it.
const retireGrace = 5

// newRetireCommand is what the chart runs before anything else is uninstalled:
// a pod that has an address from us cannot be ended once our plugin is gone.
func newRetireCommand(e *env) *cobra.Command {
	var namespace, name string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "retire", Short: "End the pods of a Deployment and wait until they are gone", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return retire(ctx, e, namespace, name)
		},
	}
	c.Flags().StringVar(&namespace, "namespace", "", "namespace of the Deployment")
	c.Flags().StringVar(&name, "deployment", "", "name of the Deployment")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	return c
}

// retire ends without an error when the time is up, as waitDaemonSet does.
func retire(ctx context.Context, e *env, namespace, name string) error {
	k, _, err := e.clients()
	if err != nil {
		return err
	}
	none := []byte(`{"spec":{"replicas":0}}`)
	d, err := k.AppsV1().Deployments(namespace).Patch(ctx, name, types.MergePatchType, none, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("scale down: %w", err)
	}
	selector := metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)}
	grace := int64(retireGrace)
	for {
		pods, err := k.CoreV1().Pods(namespace).List(ctx, selector)
		if err == nil && len(pods.Items) == 0 {
			fmt.Fprintf(e.out, "deployment %s has no pods\n", name)
			return nil
		}
		if err == nil {
			for _, p := range pods.Items {
				_ = k.CoreV1().Pods(namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}) // asked again below
			}
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(e.out, "time is up: pods of deployment %s are left\n", name)
			return nil
		case <-time.After(time.Second):
		}
	}
}
