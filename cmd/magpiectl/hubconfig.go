// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/cmd/magpiectl/rewire"
)

// write makes a ConfigMap of ours, or brings it up to date.
func (s *switcher) write(ctx context.Context, own *corev1.ConfigMap) error {
	title := "ConfigMap " + own.Namespace + "/" + own.Name
	c := s.k.CoreV1().ConfigMaps(own.Namespace)
	have, err := c.Get(ctx, own.Name, metav1.GetOptions{})
	switch {
	case err == nil && maps.Equal(have.Data, own.Data):
		fmt.Fprintf(s.e.out, "%s is as it should be\n", title)
		return nil
	case err == nil:
		s.say("change %s", title)
		have.Data = own.Data
		if !s.o.dryRun {
			_, err = c.Update(ctx, have, metav1.UpdateOptions{FieldManager: "magpiectl"})
		}
	case apierrors.IsNotFound(err):
		s.say("create %s", title)
		err = nil
		if !s.o.dryRun {
			_, err = c.Create(ctx, own, metav1.CreateOptions{FieldManager: "magpiectl"})
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", title, err)
	}
	return nil
}

// remove deletes a ConfigMap of ours, if it is there.
func (s *switcher) remove(ctx context.Context, namespace, name string) error {
	c := s.k.CoreV1().ConfigMaps(namespace)
	_, err := c.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		s.say("delete ConfigMap %s/%s", namespace, name)
		if !s.o.dryRun {
			err = c.Delete(ctx, name, metav1.DeleteOptions{})
		}
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ConfigMap %s/%s: %w", namespace, name, err)
	}
	return nil
}

// corefile writes a Corefile if it differs.
func (s *switcher) corefile(ctx context.Context, cm *corev1.ConfigMap, text, how string) error {
	title := "Corefile of ConfigMap " + cm.Namespace + "/" + cm.Name
	if cm.Data[rewire.CorefileKey] == text {
		if !s.corefiles[title] {
			fmt.Fprintf(s.e.out, "%s is as it should be\n", title)
		}
		s.corefiles[title] = true
		return nil
	}
	s.say("change %s: %s", title, how)
	if s.o.dryRun {
		return nil
	}
	now := cm.DeepCopy()
	now.Data[rewire.CorefileKey] = text
	if _, err := s.k.CoreV1().ConfigMaps(cm.Namespace).Update(ctx, now, metav1.UpdateOptions{FieldManager: "magpiectl"}); err != nil {
		return fmt.Errorf("change %s: %w", title, err)
	}
	return nil
}

// hubReport is what "hub status -o json" prints.
type hubReport struct {
	// OK is true if all of them read through the hub.
	OK      bool       `json:"ok"`
	Readers []hubState `json:"readers"`
}

// hubState is one program that reads Services.
type hubState struct {
	Reader string `json:"reader"`
	// Hub is true if it is pointed at the hub.
	Hub bool `json:"hub"`
	// Pods is how far its pods have followed.
	Pods string `json:"pods"`
}

func newHubStatus(e *env, o *hubOptions) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what kube-proxy and CoreDNS read Services from", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showHub(cmd.Context(), e, *o) },
	}
}

func showHub(ctx context.Context, e *env, o hubOptions) error {
	s, err := newSwitcher(e, o)
	if err != nil {
		return err
	}
	proxies, dns, err := s.find(ctx)
	if err != nil {
		return err
	}
	r := hubReport{OK: true, Readers: []hubState{}}
	for _, t := range slices.Concat(proxies, dns) {
		state, err := t.status(ctx)
		if err != nil {
			return err
		}
		r.OK = r.OK && state.Hub
		r.Readers = append(r.Readers, state)
	}
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		for _, state := range r.Readers {
			from := "the API server"
			if state.Hub {
				from = "the hub of its node"
			}
			fmt.Fprintf(e.out, "%s reads from %s; %s\n", state.Reader, from, state.Pods)
		}
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}

func (t *proxyTurn) status(ctx context.Context) (hubState, error) {
	_, on, err := rewire.ProxyOff(t.w.Unstructured)
	if err != nil {
		return hubState{}, err
	}
	_, pods, err := t.s.rollout(ctx, t.w)
	return hubState{t.w.title(), on, pods}, err
}

func (t *dnsTurn) status(ctx context.Context) (hubState, error) {
	cm, err := t.s.config(ctx, t.w.Unstructured, rewire.CorefileKey, rewire.CorefileConfig)
	if err != nil {
		return hubState{}, err
	}
	_, mounted, err := rewire.DNSOff(t.w.Unstructured)
	if err != nil {
		return hubState{}, err
	}
	_, pods, err := t.s.rollout(ctx, t.w)
	on := mounted && rewire.CorefileIsOn(cm.Data[rewire.CorefileKey])
	return hubState{t.w.title(), on, pods}, err
}

// readers are kube-proxy and CoreDNS by the names that kubeadm and ACK give.
func readers(ctx context.Context, k kubernetes.Interface, d dynamic.Interface) ([]hubState, error) {
	s := &switcher{o: hubDefaults(), k: k, d: d, corefiles: map[string]bool{}}
	proxies, dns, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	var out []hubState
	for _, t := range slices.Concat(proxies, dns) {
		state, err := t.status(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, state)
	}
	return out, nil
}

// hubOff is why readers of the nodes do not go through their hubs; "" if they do.
func hubOff(ctx context.Context, k kubernetes.Interface, d dynamic.Interface) string {
	states, err := readers(ctx, k, d)
	if err != nil {
		return "it cannot be told: " + err.Error()
	}
	if len(states) == 0 {
		return "no kube-proxy and no CoreDNS is known; see magpiectl hub"
	}
	for _, s := range states {
		if !s.Hub {
			return s.Reader + " reads from the API server; see magpiectl hub enable"
		}
	}
	return ""
}
