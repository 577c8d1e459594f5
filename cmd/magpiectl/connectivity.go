// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/matrix"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/version"
	"github.com/magpie-edge/magpie/internal/walk"
)

// nodesShown is how many nodes are all probed when nobody chooses: the matrix
// of more does not fit a terminal.
const nodesShown = 12

// connectivityFlags are what a person can choose.
type connectivityFlags struct {
	nodes   []string
	all     bool
	outside string
	image   string
	start   time.Duration
	wait    time.Duration
}

func newConnectivityCommand(e *env) *cobra.Command {
	var f connectivityFlags
	cmd := &cobra.Command{
		Use:   "connectivity",
		Short: "Test who reaches whom, pod to pod, to a Service and outside",
		Long: `connectivity starts a pod on each node and lets each reach each other: TCP,
UDP and a packet of full size. Each also asks CoreDNS for a Service, reaches it,
and reaches something outside the cluster. A hole ends it with status 1.

It works in the namespace ` + probeNamespace + `, which it deletes at the end, also
after Ctrl-C, and needs nothing of the nodes but the Kubernetes API: no exec, no
logs. Up to 12 nodes are all tested; of more, 12 spread over the domains.`,
		Example: `  magpiectl connectivity
  magpiectl connectivity --nodes cloud-1,a-1 --outside 203.0.113.80:443
  magpiectl connectivity -o json | jq .ok`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return connectivity(cmd.Context(), e, f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.nodes, "nodes", nil, "nodes to test, comma-separated")
	flags.BoolVar(&f.all, "all", false, "test every node, however many")
	flags.StringVar(&f.outside, "outside", "", `what to reach outside, HOST:PORT, or "none" (default: the API server if its address is public)`)
	flags.StringVar(&f.image, "image", "", "image with magpiectl in it (default: that of the agents)")
	flags.DurationVar(&f.start, "start-timeout", 60*time.Second, "how long pods may take to start")
	flags.DurationVar(&f.wait, "probe-timeout", 3*time.Second, "how long one probe may take")
	return cmd
}

func connectivity(ctx context.Context, e *env, f connectivityFlags) error {
	if _, _, err := net.SplitHostPort(f.outside); f.outside != "" && f.outside != "none" && err != nil {
		return fmt.Errorf("--outside %q: want HOST:PORT or none", f.outside)
	}
	k, d, err := e.clients()
	if err != nil {
		return err
	}
	fs, path, err := mapped(ctx, e, k, d)
	if err != nil {
		return err
	}
	known, err := fs.status(e)
	if err != nil {
		return err
	}
	s := &survey{env: e, client: k, flags: f}
	var failed []matrix.Failure
	if s.nodes, failed, err = choose(fs, f, known.Trouble); err != nil {
		return err
	}
	if s.image, s.secrets, err = findImage(ctx, k, f.image); err != nil {
		return err
	}
	if s.outside, err = e.outside(f.outside); err != nil {
		return err
	}
	s.start = e.now()
	defer s.cleanUp(ctx)
	nodes, probed, more, err := s.run(ctx)
	if err != nil {
		return err
	}
	domains := fs.domains()
	for i := range nodes {
		nodes[i].Domain = domains[nodes[i].Name]
	}
	r := matrix.Assemble(nodes, probed, append(failed, more...), path)
	if !r.OK {
		blame(r.Failures, troubleNow(ctx, e, k, d, known))
	}
	r.StartedAt, r.Seconds = s.start.UTC(), e.now().Sub(s.start).Round(100*time.Millisecond).Seconds()
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		_, err = fmt.Fprint(e.out, matrix.Text(r, e.colour))
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}

// troubleNow is what is known after the test: a site that was cut off a minute
// ago was not yet when it began.
func troubleNow(ctx context.Context, e *env, k kubernetes.Interface, d dynamic.Interface, before status.Report) func(string) string {
	fs, _, err := mapped(ctx, e, k, d)
	if err != nil {
		return before.Trouble
	}
	now, err := fs.status(e)
	if err != nil {
		return before.Trouble
	}
	return now.Trouble
}

// blame adds to each hole what is known of the nodes at its ends.
func blame(holes []matrix.Failure, trouble func(node string) string) {
	for i := range holes {
		for _, node := range []string{holes[i].To, holes[i].From} {
			why := trouble(node)
			if why != "" && !strings.Contains(holes[i].Reason, why) {
				holes[i].Reason += "; " + why
			}
		}
	}
}

// mapped reads the cluster and, where Magpie is installed, how packets go.
// Without Magpie the nodes suffice.
func mapped(ctx context.Context, e *env, k kubernetes.Interface, d dynamic.Interface) (facts, matrix.Pather, error) {
	fs, err := gather(ctx, k, d)
	if err != nil && (noSuchKind(err) || apierrors.IsForbidden(err)) {
		fs = facts{}
		fs.nodes, err = listNodes(ctx, k)
		return fs, nil, err
	}
	if err != nil {
		return fs, nil, err
	}
	v, _, err := fs.view(e)
	if err != nil {
		return fs, nil, err
	}
	return fs, pather(v), nil
}

// pather walks packets through the plans that the view gives the nodes.
func pather(v fleet.View) matrix.Pather {
	f := walk.New(walk.Views(v, underlayMTU))
	return func(from, _ string, src, dst netip.Addr) *matrix.Path {
		r, err := f.Walk(from, walk.Packet{Src: src, Dst: dst, Proto: "tcp", Port: 80})
		switch {
		case err != nil:
			return &matrix.Path{Kind: "none", Nodes: []string{}, Problem: err.Error()}
		case r.Verdict != walk.Delivered:
			return &matrix.Path{Kind: "none", Nodes: r.Nodes, Problem: r.Reason}
		}
		return &matrix.Path{Kind: string(r.Kind), Nodes: r.Nodes, Relay: r.Relay}
	}
}

// underlayMTU is assumed of other nodes: only a node itself knows its own.
const underlayMTU = 1500

// domains maps nodes to their domains.
func (f facts) domains() map[string]string {
	out := map[string]string{}
	for _, s := range f.slices {
		for _, n := range s.Spec.Nodes {
			out[n.Name] = s.Spec.Domain
		}
	}
	return out
}

// choose picks the nodes to test and says which should have been and cannot.
func choose(fs facts, f connectivityFlags, trouble func(node string) string) ([]corev1.Node, []matrix.Failure, error) {
	var out []corev1.Node
	for _, n := range fs.nodes {
		switch {
		case len(f.nodes) > 0 && !slices.Contains(f.nodes, n.Name):
		case n.Labels["kubernetes.io/os"] == "windows", n.Labels["type"] == "virtual-kubelet":
		case n.Labels[api.LabelHostNetwork] == "true" && len(f.nodes) == 0: // its pool has no pod network
		default:
			out = append(out, n)
		}
	}
	for _, name := range f.nodes {
		if !slices.ContainsFunc(fs.nodes, func(n corev1.Node) bool { return n.Name == name }) {
			return nil, nil, fmt.Errorf("no node %s", name)
		}
	}
	if len(f.nodes) == 0 && !f.all && len(out) > nodesShown {
		out = sample(out, fs.domains())
	}
	var failed []matrix.Failure
	ready := out[:0:0]
	for _, n := range out {
		if !nodeReady(n) {
			failed = append(failed, matrix.Failure{To: n.Name, Probe: "node", Reason: trouble(n.Name)})
			continue
		}
		ready = append(ready, n)
	}
	if len(ready) == 0 {
		return nil, nil, errors.New("no node is Ready: nothing can be tested")
	}
	return ready, failed, nil
}

// sample takes 12 nodes, spread over the domains: the first of each, then the
// second of each, and so on.
func sample(nodes []corev1.Node, domains map[string]string) []corev1.Node {
	var out []corev1.Node
	for most := 1; most <= nodesShown; most++ {
		count := map[string]int{}
		for _, n := range nodes {
			count[domains[n.Name]]++
			if count[domains[n.Name]] == most && len(out) < nodesShown {
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// findImage returns the image of the agents, which holds magpiectl, too.
func findImage(ctx context.Context, k kubernetes.Interface, image string) (string, []string, error) {
	sets, err := k.AppsV1().DaemonSets("").List(ctx, metav1.ListOptions{LabelSelector: agentLabels})
	switch {
	case image != "":
		return image, nil, nil
	case err != nil:
		return "", nil, fmt.Errorf("find the agents' image (or name one with --image): %w", err)
	case len(sets.Items) == 0:
		return "ghcr.io/magpie-edge/magpie:" + version.String(), nil, nil
	}
	spec := sets.Items[0].Spec.Template.Spec
	var secrets []string
	for _, s := range spec.ImagePullSecrets {
		secrets = append(secrets, sets.Items[0].Namespace+"/"+s.Name)
	}
	return spec.Containers[0].Image, secrets, nil
}

// outside returns what pods shall reach outside, "" for nothing: unless told,
// the API server if its address is a public one.
func (e *env) outside(flag string) (string, error) {
	switch {
	case flag == "none":
		return "", nil
	case flag != "":
		return flag, nil
	}
	c, err := e.config()
	if err != nil {
		return "", err
	}
	u, err := url.Parse(c.Host)
	if err != nil {
		return "", nil //nolint:nilerr // the client would have failed: not a public address
	}
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil || !a.IsGlobalUnicast() || a.IsPrivate() {
		return "", nil //nolint:nilerr // a name or an inner address: nothing outside that we know of
	}
	return net.JoinHostPort(a.String(), cmp.Or(u.Port(), "443")), nil
}

// progress tells a person who waits what for; it never mixes with a report.
func (e *env) progress(format string, args ...any) {
	fmt.Fprintln(e.err, strings.TrimSpace(fmt.Sprintf(format, args...)))
}
