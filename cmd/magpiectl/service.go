// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/cmd/magpiectl/service"
)

func newServiceCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "service [NAMESPACE/]NAME",
		Short: "Show which endpoints of a Service each node sees, and why",
		Long: `service shows, for one Service, which of its endpoints each pool and node sees
(annotation openyurt.io/topologyKeys), where its NodePort is open (annotation
nodeport.openyurt.io/listen), and why. A value that means nothing, or no ready
endpoint at all, ends it with status 1. It reads only; the ClusterRole
magpie-view is enough.`,
		Example: `  magpiectl service shop/web
  magpiectl service shop/web -o json | jq '.pools[] | select(.ready == 0) | .name'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return showService(cmd.Context(), e, args[0]) },
	}
}

func showService(ctx context.Context, e *env, name string) error {
	k, d, err := e.clients()
	if err != nil {
		return err
	}
	in, err := serviceInput(ctx, k, d, name)
	if err != nil {
		return err
	}
	r := service.Build(in)
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		_, err = fmt.Fprint(e.out, service.Text(r, e.colour))
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}

// serviceInput reads what the report is made of. There may be no NodePools:
// pools are also what labels of nodes name.
func serviceInput(ctx context.Context, k kubernetes.Interface, d dynamic.Interface, name string) (service.Input, error) {
	namespace, short, ok := strings.Cut(name, "/")
	if !ok {
		namespace, short = metav1.NamespaceDefault, name
	}
	in := service.Input{HubOff: hubOff(ctx, k, d), FenceInNFTables: fenceInNFTables(ctx, k)}
	var err error
	if in.Service, err = k.CoreV1().Services(namespace).Get(ctx, short, metav1.GetOptions{}); err != nil {
		if apierrors.IsNotFound(err) {
			return in, fmt.Errorf("namespace %s has no Service %s", namespace, short)
		}
		return in, fmt.Errorf("get service %s: %w", name, err)
	}
	if in.Slices, err = listSlices(ctx, k, in.Service); err != nil {
		return in, err
	}
	if in.Nodes, err = listNodes(ctx, k); err != nil {
		return in, err
	}
	if err := list(ctx, d, poolsKind, &in.Pools); err != nil && !noSuchKind(err) {
		return in, err
	}
	return in, nil
}

// fenceInNFTables reads how the agents fence from their ConfigMap. One that
// cannot be read is none that says so.
func fenceInNFTables(ctx context.Context, k kubernetes.Interface) bool {
	maps, err := k.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{LabelSelector: agentLabels})
	if err != nil || len(maps.Items) == 0 {
		return false
	}
	var c struct {
		Fence string `json:"fence"`
	}
	return yaml.Unmarshal([]byte(maps.Items[0].Data["agent.yaml"]), &c) == nil && c.Fence == service.FenceNFTables
}

func listSlices(ctx context.Context, k kubernetes.Interface, svc *corev1.Service) ([]discoveryv1.EndpointSlice, error) {
	var out []discoveryv1.EndpointSlice
	opt := metav1.ListOptions{Limit: pageSize, LabelSelector: discoveryv1.LabelServiceName + "=" + svc.Name}
	for {
		page, err := k.DiscoveryV1().EndpointSlices(svc.Namespace).List(ctx, opt)
		if err != nil {
			return nil, fmt.Errorf("list endpointslices: %w", err)
		}
		out = append(out, page.Items...)
		if opt.Continue = page.Continue; opt.Continue == "" {
			return out, nil
		}
	}
}
