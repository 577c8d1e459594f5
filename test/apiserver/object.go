// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api/crd"
)

// InstallCRDs installs our definitions and waits until they are served.
func (s *Server) InstallCRDs(ctx context.Context) error {
	text, err := crd.All()
	if err != nil {
		return err
	}
	if err := s.ApplyYAML(ctx, string(text)); err != nil {
		return err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(s.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	for _, version := range []string{
		"raven.openyurt.io/v1beta1", "raven.openyurt.io/v1alpha1", "net.magpie.dev/v1alpha1",
		"apps.openyurt.io/v1beta1", "apps.openyurt.io/v1beta2",
	} {
		for {
			if _, err = disco.ServerResourcesForGroupVersion(version); err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("wait for %s: %w", version, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

// Dynamic returns a client of the config; it panics on a broken config, which
// is a fault of the test.
func Dynamic(cfg *rest.Config) *dynamic.DynamicClient {
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		panic(err)
	}
	return c
}

// Parse reads the first object of a YAML text.
func Parse(text string) (*unstructured.Unstructured, error) {
	var u unstructured.Unstructured
	if err := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096).Decode(&u.Object); err != nil {
		return nil, fmt.Errorf("read yaml: %w", err)
	}
	return &u, nil
}

// ApplyYAML applies every object of a YAML stream, as an administrator. Rights
// that it gives hold when it returns.
func (s *Server) ApplyYAML(ctx context.Context, text string) error {
	disco, err := discovery.NewDiscoveryClientForConfig(s.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	rights := false
	for {
		var u unstructured.Unstructured
		if err := dec.Decode(&u.Object); errors.Is(err, io.EOF) {
			if rights {
				return s.followRights(ctx)
			}
			return nil
		} else if err != nil {
			return fmt.Errorf("read yaml: %w", err)
		}
		if len(u.Object) == 0 {
			continue
		}
		r, err := Resource(disco, &u)
		if err != nil {
			return err
		}
		client := dynamic.ResourceInterface(Dynamic(s.Config).Resource(r))
		if ns := u.GetNamespace(); ns != "" {
			client = Dynamic(s.Config).Resource(r).Namespace(ns)
		}
		rights = rights || r.Group == rbacv1.GroupName
		opts := metav1.ApplyOptions{FieldManager: "test", Force: true}
		if _, err := client.Apply(ctx, u.GetName(), &u, opts); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
}

// Resource asks the server which resource an object is of.
func Resource(disco discovery.DiscoveryInterface, u *unstructured.Unstructured) (schema.GroupVersionResource, error) {
	list, err := disco.ServerResourcesForGroupVersion(u.GetAPIVersion())
	if err != nil {
		return schema.GroupVersionResource{}, fmt.Errorf("discover %s: %w", u.GetAPIVersion(), err)
	}
	for _, r := range list.APIResources {
		if r.Kind == u.GetKind() && !bytes.ContainsRune([]byte(r.Name), '/') {
			return u.GroupVersionKind().GroupVersion().WithResource(r.Name), nil
		}
	}
	return schema.GroupVersionResource{}, fmt.Errorf("no resource of kind %s", u.GetKind())
}
