// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/matrix"
	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
)

// Names of what a survey creates.
const (
	probeNamespace = "magpie-connectivity"
	labelRole      = api.GroupMagpie + "/role" // "echo" or "probe"
	labelNode      = api.GroupMagpie + "/node" // number of the node
)

// survey is one run of connectivity.
type survey struct {
	env     *env
	client  kubernetes.Interface
	flags   connectivityFlags
	nodes   []corev1.Node
	image   string
	secrets []string // "namespace/name" of pull secrets to copy
	outside string
	start   time.Time
	made    bool // the namespace is ours to delete
}

// service is the name of the Service. Each run has its own, because CoreDNS
// remembers for up to half a minute what a name meant in the run before.
func (s *survey) service() string { return "echo-" + strconv.FormatInt(s.start.UnixMilli(), 36) }

// run starts the servers, then the probers, and returns what they found.
func (s *survey) run(ctx context.Context) ([]matrix.Node, []matrix.Probed, []matrix.Failure, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, nil, nil, err
	}
	s.env.progress("starting %d pods, one a node", len(s.nodes))
	var pods []*corev1.Pod
	for i := range s.nodes {
		pods = append(pods, s.pod(i, "echo", "echo-"+strconv.Itoa(i), "serve"))
	}
	if err := s.create(ctx, pods); err != nil {
		return nil, nil, nil, err
	}
	servers, err := s.await(ctx, "echo", len(pods), s.flags.start, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodRunning && len(p.Status.PodIPs) > 0
	})
	if err != nil {
		return nil, nil, nil, err
	}
	nodes, targets, failed := s.targets(ctx, servers)
	s.env.progress("probing from %d nodes to %d addresses", len(nodes), len(targets))
	probed, err := s.probe(ctx, nodes, targets)
	return nodes, probed, failed, err
}

// targets lists what every prober is to reach; a node whose server did not
// start is a hole.
func (s *survey) targets(ctx context.Context, servers map[int]corev1.Pod) ([]matrix.Node, []probe.Target, []matrix.Failure) {
	var nodes []matrix.Node
	var targets []probe.Target
	var failed []matrix.Failure
	for i, n := range s.nodes {
		p, ok := servers[i]
		if !ok || p.Status.Phase != corev1.PodRunning || len(p.Status.PodIPs) == 0 {
			failed = append(failed, matrix.Failure{To: n.Name, Probe: "pod", Reason: "the pod does not start: " + s.why(ctx, p)})
			continue
		}
		node := matrix.Node{Name: n.Name}
		for _, ip := range p.Status.PodIPs {
			node.Addrs = append(node.Addrs, ip.IP)
			targets = append(targets, probe.Target{Kind: probe.KindPod, Addr: hostPort(ip.IP, probe.Port)})
		}
		nodes = append(nodes, node)
	}
	if len(nodes) > 0 {
		targets = append(targets, probe.Target{Kind: probe.KindName, Addr: hostPort(s.service()+"."+probeNamespace+".svc", probe.Port)})
	}
	if s.outside != "" {
		targets = append(targets, probe.Target{Kind: probe.KindOutside, Addr: s.outside})
	}
	return nodes, targets, failed
}

func hostPort(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// probe starts a prober on each node, several where there are more targets
// than one may have, and reads what they leave behind.
func (s *survey) probe(ctx context.Context, nodes []matrix.Node, targets []probe.Target) ([]matrix.Probed, error) {
	var pods []*corev1.Pod
	var probed []matrix.Probed
	for i, n := range s.nodes {
		if !slices.ContainsFunc(nodes, func(m matrix.Node) bool { return m.Name == n.Name }) {
			continue
		}
		for part := range slices.Chunk(targets, probe.TargetsMax) {
			args := []string{"run", "--wait=" + s.flags.wait.String()}
			for _, t := range part {
				args = append(args, t.String())
			}
			p := s.pod(i, "probe", fmt.Sprintf("probe-%d", len(pods)), args...)
			p.Labels[labelNode] = strconv.Itoa(len(pods))
			pods = append(pods, p)
			probed = append(probed, matrix.Probed{Node: n.Name, Targets: part})
		}
	}
	if err := s.create(ctx, pods); err != nil {
		return nil, err
	}
	done, err := s.await(ctx, "probe", len(pods), s.flags.start+probe.ServiceWait, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	for i := range probed {
		probed[i].Report, probed[i].Problem = s.read(ctx, done[i])
	}
	return probed, err
}

// read decodes a prober's termination message.
func (s *survey) read(ctx context.Context, p corev1.Pod) (probe.Report, string) {
	for _, c := range p.Status.ContainerStatuses {
		t := c.State.Terminated
		if t == nil {
			continue
		}
		if t.ExitCode != 0 {
			return probe.Report{}, fmt.Sprintf("its prober ended with status %d: %s", t.ExitCode, strings.TrimSpace(t.Message))
		}
		r, err := probe.Decode([]byte(t.Message))
		if err != nil {
			return probe.Report{}, "its prober: " + err.Error()
		}
		return r, ""
	}
	return probe.Report{}, "its prober did not end: " + s.why(ctx, p)
}

// pod is one of ours: pinned to its node past the scheduler, so that a cordon
// or a taint does not hide a node, and without any right.
func (s *survey) pod(node int, role, name string, args ...string) *corev1.Pod {
	no, yes, user, grace := false, true, int64(65532), int64(1)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: probeNamespace,
		Labels: map[string]string{labelRole: role, labelNode: strconv.Itoa(node)},
	}}
	p.Spec = corev1.PodSpec{
		NodeName:                      s.nodes[node].Name,
		RestartPolicy:                 corev1.RestartPolicyNever,
		Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
		SecurityContext:               &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user},
		Containers: []corev1.Container{{
			Name: role, Image: s.image, ImagePullPolicy: corev1.PullIfNotPresent,
			Command:   []string{"/usr/local/bin/magpiectl", "probe"},
			Args:      args,
			Resources: probeResources(),
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
	for _, secret := range s.secrets {
		_, name, _ := strings.Cut(secret, "/")
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return p
}

// create makes pods, all at once. In a namespace that is a moment old the
// controller may not have made the service account yet that admission asks for.
func (s *survey) create(ctx context.Context, pods []*corev1.Pod) error {
	var g errgroup.Group
	g.SetLimit(20)
	for _, p := range pods {
		g.Go(func() error {
			for try := 0; ; try++ {
				_, err := s.client.CoreV1().Pods(probeNamespace).Create(ctx, p, metav1.CreateOptions{})
				early := apierrors.IsForbidden(err) && strings.Contains(err.Error(), "service account")
				if err == nil || apierrors.IsAlreadyExists(err) && try > 0 {
					return nil
				}
				if !early || try > 100 || !pause(ctx, 100*time.Millisecond) {
					return fmt.Errorf("create pod on node %s: %w", p.Spec.NodeName, err)
				}
			}
		})
	}
	return g.Wait()
}

// await looks at the pods of a role until all are as they should be or the
// time for it is over, and returns them by their number.
func (s *survey) await(ctx context.Context, role string, n int, within time.Duration, done func(corev1.Pod) bool) (map[int]corev1.Pod, error) {
	end := s.env.now().Add(within)
	for {
		list, err := s.client.CoreV1().Pods(probeNamespace).List(ctx, metav1.ListOptions{LabelSelector: labelRole + "=" + role})
		if err != nil {
			return nil, fmt.Errorf("list pods: %w", err)
		}
		pods := map[int]corev1.Pod{}
		count := 0
		for _, p := range list.Items {
			i, _ := strconv.Atoi(p.Labels[labelNode])
			pods[i] = p
			if done(p) || p.Status.Phase == corev1.PodFailed {
				count++
			}
		}
		if count >= n || s.env.now().After(end) {
			return pods, nil
		}
		if !pause(ctx, 250*time.Millisecond) {
			return nil, fmt.Errorf("wait for pods: %w", ctx.Err())
		}
	}
}

// pause sleeps; false means that ctx is over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
