// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/sessions"
)

// askTimeout is how long one instance of the gateway may take to answer; a
// thousand nodes are a megabyte.
const askTimeout = 10 * time.Second

func newTunnelCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "tunnel",
		Short: "Show which nodes the O&M tunnel reaches, and how fast",
		Long: `tunnel asks every instance of magpie-gateway which nodes are connected to it: the
sessions of each node, open streams, round trip, age, and when certificates end.
A node that should be connected and is not ends it with status 1.

It asks by way of the API server's pod proxy, so its user needs get on pods/proxy
in the gateway's namespace: the Role magpie-tunnel-view.`,
		Example: `  magpiectl tunnel
  magpiectl tunnel -o json | jq '.nodes[] | select(.dials and .sessions == []) | .name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showTunnel(cmd.Context(), e) },
	}
	c.AddCommand(newTunnelCallerCommand(e))
	return c
}

func showTunnel(ctx context.Context, e *env) error {
	k, d, err := e.clients()
	if err != nil {
		return err
	}
	fs, err := gather(ctx, k, d)
	if err != nil {
		return err
	}
	r, err := tunnels(ctx, e, k, fs)
	if err != nil {
		return err
	}
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		_, err = fmt.Fprint(e.out, sessions.Text(*r, e.colour))
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}

// tunnels asks all instances.
func tunnels(ctx context.Context, e *env, k kubernetes.Interface, fs facts) (*sessions.Report, error) {
	v, _, err := fs.view(e)
	if err != nil {
		return nil, err
	}
	found, err := pods(ctx, k, sessions.Labels)
	if err != nil {
		return nil, fmt.Errorf("list the gateway's pods: %w", err)
	}
	in := sessions.Input{Now: e.now(), Answers: make([]sessions.Answer, len(found))}
	dialled := false
	for _, d := range v.Domains {
		dialled = dialled || d.Cloud && len(d.Tunnels) > 0
	}
	switch {
	case fs.raven[api.RavenEnableL7] == "false":
		in.Off = "ConfigMap " + api.RavenConfigNamespace + "/" + api.RavenConfigName + " has " + api.RavenEnableL7 + ": \"false\""
	case !dialled && len(found) == 0:
		in.Off = "no magpie-gateway is installed (gateway.enabled of the chart)"
	}
	for _, n := range fs.nodes {
		_, home, placed := v.Node(n.Name)
		in.Nodes = append(in.Nodes, sessions.Member{
			Name: n.Name, Domain: home.Name, Ready: nodeReady(n), Dials: placed && !home.Cloud && dialled,
		})
	}
	var g errgroup.Group
	g.SetLimit(10)
	for i, p := range found {
		g.Go(func() error {
			in.Answers[i] = askGateway(ctx, k, p)
			return nil
		})
	}
	_ = g.Wait() // none fails
	r := sessions.Build(in)
	return &r, nil
}

// askGateway asks one instance; what goes wrong is part of its answer.
func askGateway(ctx context.Context, k kubernetes.Interface, p corev1.Pod) sessions.Answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out := sessions.Answer{Pod: p.Namespace + "/" + p.Name, Host: p.Spec.NodeName}
	for _, c := range p.Status.Conditions {
		out.Ready = out.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	get := func(path string) ([]byte, error) {
		return k.CoreV1().Pods(p.Namespace).ProxyGet("http", p.Name, strconv.Itoa(api.PortGatewayHealth), path, nil).DoRaw(ctx)
	}
	body, err := get("sessions")
	if err == nil {
		err = json.Unmarshal(body, &out.Status)
	}
	metrics, more := get("metrics")
	out.Metrics, out.Err = string(metrics), errors.Join(err, more)
	return out
}
