// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/api/crd"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
)

// newCRDsCommand is what the chart runs before an upgrade: Helm installs the
// definitions of a chart once and never again.
func newCRDsCommand(e *env) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "crds", Short: "Bring the CustomResourceDefinitions that are ours to this version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			_, d, err := e.clients()
			if err != nil {
				return err
			}
			entries, err := crd.Files.ReadDir(".")
			if err != nil {
				return fmt.Errorf("list definitions: %w", err)
			}
			for _, entry := range entries {
				text, err := crd.Files.ReadFile(entry.Name())
				if err != nil {
					return fmt.Errorf("read definition: %w", err)
				}
				done, err := upgradeCRD(ctx, d, text)
				if err != nil {
					return fmt.Errorf("%s: %w", entry.Name(), err)
				}
				fmt.Fprintln(e.out, done)
			}
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long it may take")
	return c
}

// upgradeCRD applies one definition and says what it did. One of another group
// that is there without our label came with OpenYurt or ACK, and stays as it is.
func upgradeCRD(ctx context.Context, d dynamic.Interface, text []byte) (done string, err error) {
	want := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, want); err != nil {
		return "", fmt.Errorf("read: %w", err)
	}
	definitions := d.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	have, err := definitions.Get(ctx, want.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		done = "installed"
	case err != nil:
		return "", fmt.Errorf("get: %w", err)
	case have.GetLabels()[crd.Label] != want.GetLabels()[crd.Label] && !strings.HasSuffix(want.GetName(), "."+v1alpha1.GroupVersion.Group):
		return want.GetName() + ": left as it is, it is not ours: it has no label " + crd.Label, nil
	}
	// Helm, or a person with kubectl, has written it before: the fields are ours now.
	got, err := definitions.Apply(ctx, want.GetName(), want, metav1.ApplyOptions{FieldManager: "magpie-crds", Force: true})
	if err != nil {
		return "", fmt.Errorf("apply: %w", err)
	}
	if done == "" {
		done = "up to date"
		if got.GetGeneration() != have.GetGeneration() {
			done = "upgraded"
		}
	}
	return want.GetName() + ": " + done, nil
}
