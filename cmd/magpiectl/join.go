// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/nodepool/join"
)

// joinFlags are what an operator may say; all but the pool is found out.
type joinFlags struct {
	pool, poolType, server, token string
	nodeIP, domain, runtime       string
	dns                           []string
	ttl                           time.Duration
	allowSwap                     bool
}

func newJoinCommand(e *env) *cobra.Command {
	var f joinFlags
	cmd := &cobra.Command{
		Use:   "join --pool NAME",
		Short: "Print the script that makes a machine a node of a pool",
		Long: `join prints a script. Piped to a shell on a machine it checks what a node
needs, says what is missing and how to mend it, and makes the machine a node.
The script holds a bootstrap token: it is a secret until the token expires, and
one script serves any number of machines until then.`,
		Example: `  magpiectl join --pool shop-a | ssh root@MACHINE bash
  magpiectl join --pool shop-a | ssh root@MACHINE bash -s -- --check-only`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if e.format != "" {
				return errors.New("join prints a script: there is no --output for it")
			}
			return printJoin(cmd.Context(), e, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.pool, "pool", "", "name of the NodePool (required)")
	flags.StringVar(&f.poolType, "type", "", `"edge" or "cloud" (default: the type of the NodePool, else edge)`)
	flags.StringVar(&f.server, "api-server", "", "URL of the API server as the machine reaches it (default: ConfigMap kube-public/cluster-info, else the kubeconfig)")
	flags.DurationVar(&f.ttl, "ttl", 24*time.Hour, "how long the script shall work; 0: until its token is deleted")
	flags.StringVar(&f.token, "token", "", "bootstrap token to use (default: a new one)")
	flags.StringVar(&f.nodeIP, "node-ip", "", "address of the node, where it has several")
	flags.StringSliceVar(&f.dns, "cluster-dns", nil, "addresses of the cluster's DNS (default: those of Service kube-system/kube-dns)")
	flags.StringVar(&f.domain, "cluster-domain", join.DefaultClusterDomain, "DNS domain of the cluster")
	flags.StringVar(&f.runtime, "runtime-endpoint", join.DefaultRuntimeEndpoint, "the container runtime's socket on the machine")
	flags.BoolVar(&f.allowSwap, "allow-swap", false, "join machines that swap")
	_ = cmd.MarkFlagRequired("pool") // the flag is defined above
	return cmd
}

// printJoin finds out what the script must know, makes sure that the cluster
// lets its bearer in, and prints it: in this order, so that a refusal leaves
// no token behind.
func printJoin(ctx context.Context, e *env, f joinFlags) error {
	k, d, err := e.clients()
	if err != nil {
		return err
	}
	p, err := joinParams(ctx, e, k, f)
	if err != nil {
		return err
	}
	if p.Type, err = poolType(ctx, e.err, d, f); err != nil {
		return err
	}
	t, err := newToken(e.now(), f.token, f.ttl)
	if err != nil {
		return err
	}
	p.Token, p.Expires = t.String(), t.until()
	script, err := join.Script(p)
	if err != nil {
		return err
	}
	if err := letNodesIn(ctx, e.err, k); err != nil {
		return err
	}
	if err := t.store(ctx, k); err != nil {
		return err
	}
	fmt.Fprintf(e.err, "pool %s (%s), API server %s, valid until %s\n", p.Pool, p.Type, p.APIServer, p.Expires)
	fmt.Fprintln(e.err, "the script holds a secret; run it as root on the machine: ... | ssh root@MACHINE bash")
	_, err = io.WriteString(e.out, script)
	return err
}

// joinParams gathers what the cluster says about itself.
func joinParams(ctx context.Context, e *env, k kubernetes.Interface, f joinFlags) (join.Params, error) {
	p := join.Params{
		Pool: f.pool, ClusterDomain: f.domain, RuntimeEndpoint: f.runtime, AllowSwap: f.allowSwap,
	}
	where, err := findServer(ctx, e, k, f.server)
	if err != nil {
		return p, err
	}
	p.APIServer, p.CA = where.url, where.ca
	if p.Cluster, err = clusterID(ctx, k); err != nil {
		return p, err
	}
	if p.ServerMinor, err = serverMinor(k); err != nil {
		return p, err
	}
	if p.ClusterDNS, err = clusterDNS(ctx, k, f.dns); err != nil {
		return p, err
	}
	if f.nodeIP != "" {
		if p.NodeIP, err = netip.ParseAddr(f.nodeIP); err != nil {
			return p, fmt.Errorf("--node-ip: %w", err)
		}
	}
	return p, nil
}

var poolResource = schema.GroupVersionResource{Group: "apps.openyurt.io", Version: "v1beta2", Resource: "nodepools"}

// poolType is what the flag or the NodePool says. A pool that does not exist
// is not refused: its nodes wait for it, and only the script's reader can know
// whether the name is a typing mistake.
func poolType(ctx context.Context, messages io.Writer, d dynamic.Interface, f joinFlags) (string, error) {
	pool, err := d.Resource(poolResource).Get(ctx, f.pool, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		fmt.Fprintf(messages, "warning: there is no NodePool %s; make it, or check the name\n", f.pool)
		return orEdge(f.poolType), nil
	case err != nil:
		return "", fmt.Errorf("get NodePool %s: %w", f.pool, err)
	}
	has := poolTypeOf(pool.Object)
	if f.poolType != "" && f.poolType != has {
		return "", fmt.Errorf("--type is %s, but NodePool %s is of type %s", f.poolType, f.pool, has)
	}
	return has, nil
}

func orEdge(s string) string {
	if s == "" {
		return join.Edge
	}
	return s
}
