// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
)

func probeResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}

// prepare makes the namespace, after whatever an earlier run has left of it is
// gone, and the Service in it.
func (s *survey) prepare(ctx context.Context) error {
	namespaces := s.client.CoreV1().Namespaces()
	if _, err := namespaces.Get(ctx, probeNamespace, metav1.GetOptions{}); err == nil {
		s.env.progress("removing what an earlier run has left")
		if err := s.remove(ctx); err != nil {
			return err
		}
	}
	_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: probeNamespace,
		Labels: map[string]string{
			"app.kubernetes.io/managed-by":       "magpiectl",
			"pod-security.kubernetes.io/enforce": "baseline",
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", probeNamespace, err)
	}
	s.made = true
	for _, secret := range s.secrets {
		if err := s.copySecret(ctx, secret); err != nil {
			return err
		}
	}
	dual := corev1.IPFamilyPolicyPreferDualStack
	ports := []corev1.ServicePort{
		{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: probe.Port, TargetPort: intstr.FromInt32(probe.Port)},
		{Name: "udp", Protocol: corev1.ProtocolUDP, Port: probe.Port, TargetPort: intstr.FromInt32(probe.Port)},
	}
	_, err = s.client.CoreV1().Services(probeNamespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: s.service(), Namespace: probeNamespace},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{labelRole: "echo"}, Ports: ports, IPFamilyPolicy: &dual,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create service %s: %w", s.service(), err)
	}
	return nil
}

// copySecret brings an image pull secret of the agents along.
func (s *survey) copySecret(ctx context.Context, secret string) error {
	namespace, name, _ := strings.Cut(secret, "/")
	from, err := s.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read image pull secret: %w", err)
	}
	to := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: probeNamespace}, Type: from.Type, Data: from.Data}
	if _, err := s.client.CoreV1().Secrets(probeNamespace).Create(ctx, to, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("copy image pull secret: %w", err)
	}
	return nil
}

// cleanUp deletes what the run has made. ctx may be over already: Ctrl-C must
// leave nothing behind either.
func (s *survey) cleanUp(ctx context.Context) {
	if !s.made {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := s.remove(ctx); err != nil {
		s.env.progress("%v\n  remove it with: kubectl delete namespace %s", err, probeNamespace)
	}
}

// remove deletes the namespace and waits until it is gone. Pods on a node that
// does not answer would hold it for ever: after a while they are forced.
func (s *survey) remove(ctx context.Context) error {
	namespaces := s.client.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, probeNamespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete namespace %s: %w", probeNamespace, err)
	}
	for try := range 300 {
		_, err := namespaces.Get(ctx, probeNamespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if try > 0 && try%75 == 0 {
			now := int64(0)
			err := s.client.CoreV1().Pods(probeNamespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("delete pods in %s: %w", probeNamespace, err)
			}
		}
		if !pause(ctx, 200*time.Millisecond) {
			break
		}
	}
	return fmt.Errorf("namespace %s is still being deleted", probeNamespace)
}

// why says what keeps a pod from running, in the words of its node.
func (s *survey) why(ctx context.Context, p corev1.Pod) string {
	if p.Name == "" {
		return "it is gone"
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" {
			return w.Reason + ": " + w.Message
		}
		if t := c.State.Terminated; t != nil {
			return fmt.Sprintf("it ended with status %d: %s %s", t.ExitCode, t.Reason, strings.TrimSpace(t.Message))
		}
	}
	if p.Status.Reason != "" {
		return p.Status.Reason + ": " + p.Status.Message
	}
	events, err := s.client.CoreV1().Events(probeNamespace).List(ctx, metav1.ListOptions{
		FieldSelector: "type=Warning,involvedObject.name=" + p.Name,
	})
	if err == nil && len(events.Items) > 0 {
		last := slices.MaxFunc(events.Items, func(a, b corev1.Event) int {
			return cmp.Compare(a.LastTimestamp.UnixNano(), b.LastTimestamp.UnixNano())
		})
		return last.Reason + ": " + last.Message
	}
	if p.Status.Phase == corev1.PodPending && p.Status.StartTime == nil {
		return "nothing on the node has taken it up"
	}
	return "it is " + strings.ToLower(string(p.Status.Phase)) + " and nobody says why"
}
