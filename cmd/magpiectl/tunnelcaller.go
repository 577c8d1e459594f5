// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

const day = 24 * time.Hour

// callerOptions are the flags of "tunnel caller".
type callerOptions struct {
	dir  string
	days int
}

func newTunnelCallerCommand(e *env) *cobra.Command {
	o := callerOptions{dir: ".", days: int(identity.CallerLifetime / day)}
	c := &cobra.Command{
		Use:   "caller NAME",
		Short: "Make key and certificate with which an API server may use the gateway",
		Long: `caller makes what an EgressSelectorConfiguration of type HTTPConnect needs for
TCP with TLS, in three files: NAME.key, NAME.crt and gateway-ca.crt. Whoever has
the key can open streams to every node, as the API server can: keep it as you
keep the API server's own.

It signs with the tunnel's authority, so its user has to read Secret
kube-system/magpie-tunnel-ca. Nothing renews the certificate, and a rotation of
the authority ends it: make another before.`,
		Example: `  magpiectl tunnel caller kube-apiserver --dir /etc/kubernetes/magpie`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, _, err := e.clients()
			if err != nil {
				return err
			}
			return makeCaller(cmd.Context(), e, k, args[0], o)
		},
	}
	c.Flags().StringVar(&o.dir, "dir", o.dir, "folder of the files")
	c.Flags().IntVar(&o.days, "days", o.days, "how long the certificate lasts, 1 to 365")
	return c
}

func makeCaller(ctx context.Context, e *env, k kubernetes.Interface, name string, o callerOptions) error {
	if longest := int(identity.CallerLifetime / day); o.days < 1 || o.days > longest {
		return fmt.Errorf("--days: %d is not 1 to %d", o.days, longest)
	}
	secret, err := k.CoreV1().Secrets(api.TunnelCANamespace).Get(ctx, api.TunnelCAName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the tunnel's authority: %w", err)
	}
	vault, ok, err := identity.DecodeVault(secret.Data)
	if err != nil {
		return fmt.Errorf("read the tunnel's authority: %w", err)
	}
	if !ok {
		return errors.New("the tunnel's authority is not made yet: is magpie-manager running?")
	}
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	keyText, err := identity.EncodeKey(key)
	if err != nil {
		return err
	}
	now := e.now()
	certificate, err := vault.Sign.Sign(rand.Reader, now, identity.Grant{
		Kind: identity.Caller, Name: name, Public: &key.PublicKey, Lifetime: time.Duration(o.days) * day,
	})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{name + ".key", keyText}, {name + ".crt", certificate}, {"gateway-ca.crt", vault.Bundle()}} {
		path := filepath.Join(o.dir, f.name)
		if err := os.WriteFile(path, f.text, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		fmt.Fprintln(e.out, path)
	}
	fmt.Fprintf(e.out, "valid until %s\n", now.Add(time.Duration(o.days)*day).UTC().Format(time.RFC3339))
	return nil
}
