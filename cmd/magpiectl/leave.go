// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/nodepool/join"
)

type leaveFlags struct {
	yes, script, noDrain bool
	timeout              time.Duration
	runtime              string
}

func newLeaveCommand(e *env) *cobra.Command {
	var f leaveFlags
	cmd := &cobra.Command{
		Use:   "leave NODE",
		Short: "Take a node out of the cluster, and undo join on the machine",
		Long: `leave moves the pods of a node elsewhere and deletes the Node. With --script it
changes nothing in the cluster but prints the script that undoes on the machine
what join did there: run it after the first, or alone on a machine whose node
has gone.`,
		Example: `  magpiectl leave a-1
  magpiectl leave a-1 --script | ssh root@MACHINE bash`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.format != "" {
				return errors.New("leave has no --output")
			}
			k, _, err := e.clients()
			if err != nil {
				return err
			}
			if f.script {
				return printLeave(cmd.Context(), e.out, k, args[0], f.runtime)
			}
			return leave(cmd.Context(), e, args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.script, "script", false, "print the script for the machine, and do nothing else")
	flags.BoolVar(&f.noDrain, "no-drain", false, "do not move pods first: for a machine that will not come back")
	flags.DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long to wait for pods to go")
	flags.StringVar(&f.runtime, "runtime-endpoint", join.DefaultRuntimeEndpoint, "the container runtime's socket on the machine")
	return cmd
}

// leave is the cluster's side.
func leave(ctx context.Context, e *env, name string, f leaveFlags) error {
	k, d, err := e.clients()
	if err != nil {
		return err
	}
	node, err := k.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get node: %w", err)
	}
	if gone := err != nil; gone {
		fmt.Fprintf(e.out, "there is no node %s\n", name)
	} else if err := dismiss(ctx, e, k, node, f); err != nil {
		return err
	}
	reports := schema.GroupVersionResource{Group: "net.magpie.dev", Version: "v1alpha1", Resource: "linkreports"}
	err = d.Resource(reports).Delete(ctx, name, metav1.DeleteOptions{})
	switch {
	case err == nil:
		fmt.Fprintf(e.out, "deleted LinkReport %s\n", name)
	case !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err):
		return fmt.Errorf("delete LinkReport: %w", err)
	}
	fmt.Fprintf(e.out, "next, on the machine: magpiectl leave %s --script | ssh root@MACHINE bash\n", name)
	return nil
}

// dismiss cordons, drains and deletes a node that is there.
func dismiss(ctx context.Context, e *env, k kubernetes.Interface, node *corev1.Node, f leaveFlags) error {
	pods, err := movable(ctx, k, node.Name)
	if err != nil {
		return err
	}
	if !f.yes {
		fmt.Fprintf(e.err, "node %s with %d pods that can move leaves the cluster. Go on? [y/N] ", node.Name, len(pods))
		answer, _ := bufio.NewReader(e.in).ReadString('\n') // no answer is no
		if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
			return errors.New("nothing was changed; --yes answers in advance")
		}
	}
	cordon := []byte(`{"spec":{"unschedulable":true}}`)
	if _, err := k.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, cordon, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("cordon: %w", err)
	}
	fmt.Fprintf(e.out, "cordoned node %s\n", node.Name)
	switch {
	case f.noDrain:
	case !ready(node):
		fmt.Fprintf(e.out, "node %s is not Ready: its pods cannot say good-bye and are not waited for\n", node.Name)
	default:
		if err := drain(ctx, e, k, node.Name, f.timeout); err != nil {
			return err
		}
	}
	if err := k.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete node: %w", err)
	}
	fmt.Fprintf(e.out, "deleted node %s\n", node.Name)
	return nil
}

func ready(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// movable lists the pods of a node that something would make elsewhere or
// nobody would: all but those of DaemonSets and of the node itself.
func movable(ctx context.Context, k kubernetes.Interface, node string) ([]corev1.Pod, error) {
	list, err := k.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		owner := metav1.GetControllerOf(&p)
		_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
		done := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		return mirror || done || (owner != nil && owner.Kind == "DaemonSet")
	}), nil
}

// drain evicts pods until none is left. A disruption budget that says no is
// asked again until the time is up.
func drain(ctx context.Context, e *env, k kubernetes.Interface, node string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	asked := map[types.UID]bool{}
	for {
		pods, err := movable(ctx, k, node)
		if err == nil && len(pods) == 0 {
			return nil
		}
		var left []string
		for i := range pods {
			p := &pods[i]
			left = append(left, p.Namespace+"/"+p.Name)
			if !asked[p.UID] && evict(ctx, k, p) {
				asked[p.UID] = true
				fmt.Fprintf(e.out, "evicted pod %s/%s\n", p.Namespace, p.Name)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: still there after %s: %s; see their PodDisruptionBudgets, or use --no-drain", timeout, strings.Join(left, ", "))
		case <-time.After(time.Second):
		}
	}
}

// evict reports whether the pod was told to go or has gone.
func evict(ctx context.Context, k kubernetes.Interface, p *corev1.Pod) bool {
	err := k.CoreV1().Pods(p.Namespace).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
	})
	return err == nil || apierrors.IsNotFound(err)
}

// printLeave renders the machine's side.
func printLeave(ctx context.Context, out io.Writer, k kubernetes.Interface, node, runtime string) error {
	p := join.LeaveParams{Node: node, RuntimeEndpoint: runtime}
	var err error
	if p.Cluster, err = clusterID(ctx, k); err != nil {
		return err
	}
	if err := agentOf(ctx, k, &p); err != nil {
		return err
	}
	script, err := join.LeaveScript(p)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, script)
	return err
}

// agentOf finds with what image and config the cluster's agents run: theirs
// is the clean-up that knows what they made. No DaemonSet, no clean-up.
func agentOf(ctx context.Context, k kubernetes.Interface, p *join.LeaveParams) error {
	sets, err := k.AppsV1().DaemonSets("").List(ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/name=magpie,app.kubernetes.io/component=agent",
	})
	if err != nil {
		return fmt.Errorf("list DaemonSets: %w", err)
	}
	if len(sets.Items) == 0 {
		return nil
	}
	ds := sets.Items[0]
	p.Image = ds.Spec.Template.Spec.Containers[0].Image
	cm, err := k.CoreV1().ConfigMaps(ds.Namespace).Get(ctx, ds.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get the agent's ConfigMap: %w", err)
	}
	p.AgentConfig = cm.Data["agent.yaml"]
	var dirs struct {
		CNIBinDir  string `json:"cniBinDir"`
		CNIConfDir string `json:"cniConfDir"`
	}
	if err := yaml.Unmarshal([]byte(p.AgentConfig), &dirs); err != nil {
		return fmt.Errorf("read agent.yaml of ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err)
	}
	p.CNIBinDir, p.CNIConfDir = dirs.CNIBinDir, dirs.CNIConfDir
	return nil
}
