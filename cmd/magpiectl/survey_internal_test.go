// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/magpie-edge/magpie/cmd/magpiectl/matrix"
	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
)

// kubelets stands in for the kubelets of a cluster whose API server is
// client-go's fake: it runs the pods' arguments with the real prober and
// server, on loopback addresses of their own. The lab's suite runs the same
// command against real ones.
type kubelets struct {
	api   kubernetes.Interface
	stuck string // node on which no image can be pulled
}

func (k kubelets) run(ctx context.Context, t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	for ctx.Err() == nil {
		list, err := k.api.CoreV1().Pods(probeNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return
		}
		for _, p := range list.Items {
			if !seen[p.Name] {
				seen[p.Name] = true
				go k.start(ctx, t, p.DeepCopy(), len(seen))
			}
		}
		pause(ctx, 10*time.Millisecond)
	}
}

func (k kubelets) start(ctx context.Context, t *testing.T, p *corev1.Pod, n int) {
	t.Helper()
	args := p.Spec.Containers[0].Args
	ip := fmt.Sprintf("127.77.%d.%d", os.Getpid()%256, n) // another run of the test may go on beside
	status := corev1.ContainerStatus{Name: p.Spec.Containers[0].Name}
	p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	switch {
	case p.Spec.NodeName == k.stuck:
		p.Status.Phase, p.Status.PodIPs = corev1.PodPending, nil
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}
	case args[0] == "serve":
		ready := make(chan bool)
		go func() {
			_ = probe.Serve(ctx, ip, probe.Port, func(int) { close(ready) })
		}()
		<-ready
		p.Status.Phase = corev1.PodRunning
	default:
		var targets []probe.Target
		for _, a := range args {
			if target, err := probe.ParseTarget(a); err == nil {
				targets = append(targets, target)
			}
		}
		b, err := probe.Encode(probe.Run(ctx, targets, probe.Waits{Check: time.Second, Service: time.Second}))
		if err != nil {
			t.Error(err)
		}
		p.Status.Phase = corev1.PodSucceeded
		status.State.Terminated = &corev1.ContainerStateTerminated{Message: string(b)}
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	_, _ = k.api.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{}) // the test may be over
}

func readyNode(name string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func newSurvey(t *testing.T, stuck string) (*survey, context.Context) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	client := fake.NewClientset()
	go kubelets{client, stuck}.run(ctx, t)
	e := &env{out: &bytes.Buffer{}, err: &bytes.Buffer{}, now: time.Now}
	s := &survey{
		env: e, start: time.Unix(1_800_000_000, 0), client: client, image: "magpie:dev",
		flags: connectivityFlags{start: 5 * time.Second, wait: time.Second},
		nodes: []corev1.Node{readyNode("n1"), readyNode("n2"), readyNode("n3")},
	}
	return s, ctx
}

// TestSurvey: a node that cannot pull the image is a hole in its words, the
// others are probed in every direction, and nothing is left.
func TestSurvey(t *testing.T) {
	s, ctx := newSurvey(t, "n3")
	nodes, probed, failed, err := s.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r := matrix.Assemble(nodes, probed, failed, nil)
	if len(r.Nodes) != 2 || len(r.Pairs) != 4 || r.OK {
		t.Errorf("%d nodes, %d pairs, ok %v: %+v", len(r.Nodes), len(r.Pairs), r.OK, r.Failures)
	}
	for _, p := range r.Pairs {
		if !p.TCP.OK || !p.UDP.OK || !p.MTU.OK {
			t.Errorf("%s to %s: %+v", p.From, p.To, p)
		}
	}
	if !slices.ContainsFunc(r.Failures, func(f matrix.Failure) bool {
		return f.To == "n3" && strings.Contains(f.Reason, "ErrImagePull: no such image")
	}) {
		t.Errorf("nobody says why n3 is missing: %+v", r.Failures)
	}
	s.cleanUp(ctx)
	if _, err := s.client.CoreV1().Namespaces().Get(ctx, probeNamespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is left: %v", err)
	}
}

// TestInterrupted: Ctrl-C while pods start, and still nothing is left; the
// next run begins with what a killed one has left.
func TestInterrupted(t *testing.T) {
	s, ctx := newSurvey(t, "n1")
	run, interrupt := context.WithCancel(ctx)
	time.AfterFunc(300*time.Millisecond, interrupt)
	if _, _, _, err := s.run(run); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted run ends with %v", err)
	}
	s.cleanUp(run)
	namespaces := s.client.CoreV1().Namespaces()
	if _, err := namespaces.Get(ctx, probeNamespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is left: %v", err)
	}
	stale := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: probeNamespace, Labels: map[string]string{"stale": "yes"}}}
	if _, err := namespaces.Create(ctx, stale, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.start = s.start.Add(time.Second) // the fake does not delete what is in a namespace
	if err := s.prepare(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := namespaces.Get(ctx, probeNamespace, metav1.GetOptions{}); err != nil || n.Labels["stale"] != "" {
		t.Errorf("what an earlier run has left is used: %v, %v", n, err)
	}
}

// TestPodIsModest: what runs on every node has no rights and no token, and
// nothing keeps it from a node.
func TestPodIsModest(t *testing.T) {
	s, _ := newSurvey(t, "")
	p := s.pod(1, "echo", "echo-1", "serve")
	c := p.Spec.Containers[0]
	if p.Spec.NodeName != "n2" || *p.Spec.AutomountServiceAccountToken || !*p.Spec.SecurityContext.RunAsNonRoot ||
		*c.SecurityContext.AllowPrivilegeEscalation || p.Spec.HostNetwork || p.Spec.Tolerations[0].Operator != corev1.TolerationOpExists {
		t.Errorf("%+v", p.Spec)
	}
}

// TestChoose: which nodes are tested, and which are holes before any probe.
func TestChoose(t *testing.T) {
	var fs facts
	for i := range 30 {
		fs.nodes = append(fs.nodes, readyNode(fmt.Sprintf("n%02d", i)))
	}
	fs.nodes[1].Status.Conditions[0].Status = corev1.ConditionFalse
	fs.nodes[2].Labels = map[string]string{"type": "virtual-kubelet"}
	tests := []struct {
		name          string
		flags         connectivityFlags
		nodes, failed int
		err           string
	}{
		{"a sample", connectivityFlags{}, 11, 1, ""}, // twelve, of which one is not Ready
		{"all", connectivityFlags{all: true}, 28, 1, ""},
		{"named", connectivityFlags{nodes: []string{"n05", "n06"}}, 2, 0, ""},
		{"unknown", connectivityFlags{nodes: []string{"x"}}, 0, 0, "no node x"},
		{"none ready", connectivityFlags{nodes: []string{"n01"}}, 0, 0, "no node is Ready"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nodes, failed, err := choose(fs, tt.flags, func(node string) string { return node + " is in trouble" })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || len(nodes) != tt.nodes || len(failed) != tt.failed || len(failed) > 0 && failed[0].Reason != "n01 is in trouble" {
				t.Errorf("%d nodes, %d holes, %v; want %d and %d", len(nodes), len(failed), err, tt.nodes, tt.failed)
			}
		})
	}
}

// TestBlame: a hole names the site that is cut off, at either end, once.
func TestBlame(t *testing.T) {
	trouble := func(node string) string {
		if node == "b-1" {
			return "site gw-shop-b is cut off"
		}
		return ""
	}
	holes := []matrix.Failure{
		{To: "b-1", Probe: "pod", Reason: "the pod does not start: nothing on the node has taken it up"},
		{From: "b-1", To: "a-1", Probe: "tcp", Reason: "TCP and UDP: no answer"},
		{From: "a-1", To: "cloud-1", Probe: "tcp", Reason: "TCP: refused"},
	}
	for range 2 {
		blame(holes, trouble)
	}
	var got []string
	for _, h := range holes {
		got = append(got, h.Reason)
	}
	want := []string{
		"the pod does not start: nothing on the node has taken it up; site gw-shop-b is cut off",
		"TCP and UDP: no answer; site gw-shop-b is cut off",
		"TCP: refused",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
