// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// Safe is the Secret as it was read.
type Safe struct {
	// Vault is what it holds; Filled is false while it is empty.
	Vault  identity.Vault
	Filled bool
	// Rotate is when somebody wished for another authority; zero: nobody.
	Rotate time.Time
	// Now is when it was read.
	Now time.Time
	// Err says why what it holds is no vault.
	Err error
}

// Safe reads the Secret; reconcile.ErrNotReady until the API has said what is
// in it. A Secret that is absent or damaged is told in Safe.Err.
func (i *Issuer) Safe() (Safe, error) {
	if err := i.ready(); err != nil {
		return Safe{}, err
	}
	s := Safe{Now: i.clock.now()}
	secret, ok := i.stores.get(secretKind.name, api.TunnelCANamespace, api.TunnelCAName).(*corev1.Secret)
	if !ok {
		s.Err = fmt.Errorf("there is no Secret %s/%s: the chart makes an empty one", api.TunnelCANamespace, api.TunnelCAName)
		return s, nil
	}
	s.Vault, s.Filled, s.Err = identity.DecodeVault(secret.Data)
	if text := secret.Annotations[api.AnnotationRotate]; text != "" {
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			s.Rotate = at
		}
	}
	return s, nil
}

// Advance is what a Safe should hold now.
func Advance(s Safe) (identity.Vault, error) {
	if s.Err != nil {
		return identity.Vault{}, s.Err
	}
	if !s.Filled {
		return identity.NewVault(rand.Reader, s.Now)
	}
	v, _, err := s.Vault.Advance(rand.Reader, s.Now, s.Rotate)
	return v, err
}

// Vault is the world of the Secret.
func (i *Issuer) Vault() reconcile.World[identity.Vault] { return vaultWorld{i} }

type vaultWorld struct{ *Issuer }

func (w vaultWorld) Observe(context.Context) (identity.Vault, error) {
	s, err := w.Safe()
	return s.Vault, errors.Join(err, s.Err)
}

// Apply writes the Secret if nobody has since it was read: two leaders for a
// moment, or an operator with a backup, must not end in two authorities.
func (w vaultWorld) Apply(ctx context.Context, have, want identity.Vault) (int, error) {
	if have.Equal(want) {
		return 0, nil
	}
	data, err := want.Encode()
	if err != nil {
		return 0, fmt.Errorf("encode the authority: %w", err)
	}
	stored, ok := w.stores.get(secretKind.name, api.TunnelCANamespace, api.TunnelCAName).(*corev1.Secret)
	if !ok {
		return 0, errors.New("the Secret has gone")
	}
	if now, _, err := identity.DecodeVault(stored.Data); err != nil || !now.Equal(have) {
		return 0, errors.New("the Secret has changed")
	}
	secret := stored.DeepCopy() // with its resourceVersion
	secret.Data = data
	if err := w.secrets.update(ctx, secret); err != nil {
		return 0, fmt.Errorf("write Secret %s: %w", api.TunnelCAName, err)
	}
	w.stores.await(ctx, written{secretKind.name, secret.Namespace, secret.Name, secret.ResourceVersion})
	return 1, nil
}

// Bundle is the world of the ConfigMap that all trust.
func (i *Issuer) Bundle() reconcile.World[[]plan.Manifest] {
	return &world{client: i.bundle, stores: i.stores, scope: Scope{
		Manager: "magpie-tunnel-bundle", Parts: []Part{{Kind: configMapKind.name}},
	}}
}

// BundleOf is what the ConfigMap holds for a Safe.
func BundleOf(s Safe) ([]plan.Manifest, error) {
	if s.Err != nil {
		return nil, s.Err
	}
	if !s.Filled {
		return nil, reconcile.ErrNotReady
	}
	m, err := plan.ManifestOf(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": api.TunnelCANamespace, "name": api.TunnelCAName},
		"data":     map[string]any{api.TunnelCABundle: string(s.Vault.Bundle())},
	}, "")
	return []plan.Manifest{m}, err
}
