// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/rewire"
	"github.com/magpie-edge/magpie/hub/client"
)

// hubOptions are the flags of "hub enable" and "hub disable".
type hubOptions struct {
	proxies []string
	dns     []string
	dryRun  bool
	force   bool
	timeout time.Duration
}

// hubDefaults are the names that kubeadm and ACK give.
func hubDefaults() hubOptions {
	return hubOptions{
		proxies: []string{"kube-system/kube-proxy", "kube-system/kube-proxy-worker"},
		dns:     []string{"kube-system/coredns"},
		timeout: 5 * time.Minute,
	}
}

func newHubCommand(e *env) *cobra.Command {
	o := hubDefaults()
	c := &cobra.Command{
		Use:   "hub",
		Short: "Point kube-proxy and CoreDNS at the hub of their node, and back",
		Long: `The hub is the endpoint of each node's agent from which kube-proxy and CoreDNS read
Services as that node shall see them: with topology and NodePort fencing applied,
and also while the cloud is away.

enable and disable change the DaemonSet of kube-proxy, and the Corefile and the
Deployment or DaemonSet of CoreDNS, or both where there are both. They print what
they change and can be repeated. Of a kind that is not there nothing is changed.
enable waits until every node's agent is up to date and ready.`,
		Example: `  magpiectl hub status
  magpiectl hub enable --dry-run
  magpiectl hub enable
  magpiectl hub disable`,
	}
	flags := c.PersistentFlags()
	flags.StringSliceVar(&o.proxies, "kube-proxy", o.proxies, "DaemonSets of kube-proxy, namespace/name")
	flags.StringSliceVar(&o.dns, "coredns", o.dns, `Deployments and DaemonSets of CoreDNS, namespace/name; "" for none`)
	c.AddCommand(newHubSwitch(e, &o, true), newHubSwitch(e, &o, false), newHubStatus(e, &o), newHubKubeconfig(e))
	return c
}

func newHubSwitch(e *env, o *hubOptions, on bool) *cobra.Command {
	c := &cobra.Command{Use: "disable", Short: "Point kube-proxy and CoreDNS at the API server again", Args: cobra.NoArgs}
	if on {
		c.Use, c.Short = "enable", "Point kube-proxy and CoreDNS at the hub of their node"
		c.Flags().BoolVar(&o.force, "force", false, "do not wait until every node has a hub")
	}
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what would be changed and change nothing")
	c.Flags().DurationVar(&o.timeout, "timeout", o.timeout, "how long to wait for agents, and then until the pods are replaced; 0 does not wait")
	c.RunE = func(cmd *cobra.Command, _ []string) error { return switchHub(cmd.Context(), e, *o, on) }
	return c
}

func switchHub(ctx context.Context, e *env, o hubOptions, on bool) error {
	s, err := newSwitcher(e, o)
	if err != nil {
		return err
	}
	folder := ""
	if on {
		if folder, err = s.awaitHubs(ctx); err != nil {
			return err
		}
	}
	proxies, dns, err := s.find(ctx)
	if err != nil {
		return err
	}
	if len(proxies)+len(dns) == 0 && on {
		return errors.New("there is neither a kube-proxy nor a CoreDNS of those names; name them with --kube-proxy and --coredns")
	}
	// One after the other: a CoreDNS that is replaced needs a kube-proxy that
	// follows.
	if err := s.turn(ctx, proxies, on, folder); err != nil {
		return err
	}
	return s.turn(ctx, dns, on, folder)
}

// turn points programs of one kind at the hub or back.
func (s *switcher) turn(ctx context.Context, turns []turn, on bool, folder string) error {
	for _, t := range turns {
		var err error
		if on {
			err = t.on(ctx, folder)
		} else {
			err = t.off(ctx)
		}
		if err != nil {
			return err
		}
	}
	if err := s.await(ctx, turns); err != nil || on {
		return err
	}
	for _, t := range turns {
		if err := t.tidy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// errAgents says that some nodes have no hub yet.
var errAgents = errors.New("kube-proxy would not start on the others")

// awaitHubs is hubFolder, once every node has a hub: agents are being replaced
// for a while after the chart was told to serve one.
func (s *switcher) awaitHubs(ctx context.Context) (string, error) {
	late, cancel := context.WithTimeout(ctx, s.o.timeout)
	defer cancel()
	for said := ""; ; {
		folder, err := s.hubFolder(ctx, !s.o.force)
		if !errors.Is(err, errAgents) {
			return folder, err
		}
		if s.o.dryRun {
			return s.hubFolder(ctx, false)
		}
		if said != err.Error() {
			said = err.Error()
			s.e.progress("waiting for agents: %s", said)
		}
		select {
		case <-late.Done():
			return "", fmt.Errorf("%w; look at them, or use --force", err)
		case <-time.After(time.Second):
		}
	}
}

// hubFolder is where on nodes the agents write what callers need. With sure, it
// is an error that a node may have none.
func (s *switcher) hubFolder(ctx context.Context, sure bool) (string, error) {
	sets, err := s.k.AppsV1().DaemonSets("").List(ctx, metav1.ListOptions{LabelSelector: agentLabels})
	if err != nil {
		return "", fmt.Errorf("list DaemonSets: %w", err)
	}
	if len(sets.Items) == 0 {
		if sure {
			return "", errors.New("no magpie-agent is installed")
		}
		return api.DirHub, nil
	}
	ds := sets.Items[0]
	cm, err := s.k.CoreV1().ConfigMaps(ds.Namespace).Get(ctx, ds.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get the agents' ConfigMap: %w", err)
	}
	var c struct {
		StateDir  string `json:"stateDir"`
		APIServer string `json:"apiServer"`
		Hub       struct {
			Enabled bool `json:"enabled"`
		} `json:"hub"`
	}
	if err := yaml.Unmarshal([]byte(cm.Data["agent.yaml"]), &c); err != nil {
		return "", fmt.Errorf("read agent.yaml of ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err)
	}
	if c.StateDir == "" {
		c.StateDir = api.DirState
	}
	switch st := ds.Status; {
	case !sure:
	case !c.Hub.Enabled:
		return "", errors.New("the agents serve no hub: set hub.enabled of the chart to true first")
	case c.APIServer == "" && !slices.ContainsFunc(ds.Spec.Template.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == "KUBERNETES_SERVICE_HOST" }):
		return "", errors.New("agents reach the API server through kube-proxy, which would wait for them on a new node: set apiServer.host of the chart first")
	case st.ObservedGeneration < ds.Generation, st.UpdatedNumberScheduled < st.DesiredNumberScheduled, st.NumberReady < st.DesiredNumberScheduled:
		return "", fmt.Errorf("%d of %d nodes have an agent that is up to date, %d one that is ready: %w",
			st.UpdatedNumberScheduled, st.DesiredNumberScheduled, st.NumberReady, errAgents)
	}
	return filepath.Join(c.StateDir, filepath.Base(api.DirHub)), nil
}

func newHubKubeconfig(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig FILE",
		Short: "Print a kubeconfig of kube-proxy changed so that it leads to the hub",
		Long: `kubeconfig is for a kube-proxy that is a service of the machine and no pod: it
prints FILE with the hub in place of the API server. Put it in place of FILE (keep
the old one: putting it back is how to undo this) and restart kube-proxy.

The hub knows callers by token. A kube-proxy that shows a certificate needs the
token of a ServiceAccount that is bound to ClusterRole system:node-proxier.`,
		Example: `  magpiectl hub kubeconfig /var/lib/kube-proxy/kubeconfig`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			old, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("read kubeconfig: %w", err)
			}
			text, err := rewire.Kubeconfig(string(old), client.URL(api.HubLoopback), filepath.Join(api.DirHub, client.FileCA))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			_, err = fmt.Fprint(e.out, text)
			return err
		},
	}
}

// split reads "namespace/name".
func split(flag string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(flag, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("%q is not of the form namespace/name", flag)
	}
	return namespace, name, nil
}
