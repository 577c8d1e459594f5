// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"github.com/magpie-edge/magpie/cmd/magpiectl/rewire"
)

// switcher changes objects of the cluster, or says what it would change.
type switcher struct {
	e *env
	o hubOptions
	k kubernetes.Interface
	d dynamic.Interface

	// corefiles are those that are said to be as they should be: several CoreDNS
	// may read one.
	corefiles map[string]bool
}

// turn is one program that reads Services.
type turn interface {
	on(ctx context.Context, folder string) error
	off(ctx context.Context) error
	// tidy removes what the pods needed that off has replaced.
	tidy(ctx context.Context) error
	status(ctx context.Context) (hubState, error)
	// workload is what runs its pods.
	workload() workload
}

// workload is a DaemonSet or a Deployment.
type workload struct {
	*unstructured.Unstructured
	resource string // "daemonsets" or "deployments"
}

func (w workload) title() string { return w.GetKind() + " " + w.GetNamespace() + "/" + w.GetName() }

func newSwitcher(e *env, o hubOptions) (*switcher, error) {
	k, d, err := e.clients()
	if err != nil {
		return nil, err
	}
	return &switcher{e: e, o: o, k: k, d: d, corefiles: map[string]bool{}}, nil
}

// find returns those of the flags that are there.
func (s *switcher) find(ctx context.Context) (proxies, dns []turn, err error) {
	for _, flag := range s.o.proxies {
		w, err := s.get(ctx, "daemonsets", flag)
		if err != nil {
			return nil, nil, err
		}
		if w != nil {
			proxies = append(proxies, &proxyTurn{s, workload{w, "daemonsets"}})
		}
	}
	for _, flag := range s.o.dns {
		if flag == "" {
			continue
		}
		// In the cloud it is a Deployment, at the edge often a DaemonSet.
		for _, resource := range []string{"deployments", "daemonsets"} {
			w, err := s.get(ctx, resource, flag)
			if err != nil {
				return nil, nil, err
			}
			if w != nil {
				dns = append(dns, &dnsTurn{s, workload{w, resource}})
			}
		}
	}
	return proxies, dns, nil
}

// get returns nil for what is not there.
func (s *switcher) get(ctx context.Context, resource, flag string) (*unstructured.Unstructured, error) {
	namespace, name, err := split(flag)
	if err != nil {
		return nil, err
	}
	u, err := s.workloads(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nothing to change
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", resource, flag, err)
	}
	return u, nil
}

func (s *switcher) workloads(resource string) dynamic.NamespaceableResourceInterface {
	return s.d.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource})
}

// config returns the ConfigMap that a workload mounts and that has the key.
func (s *switcher) config(ctx context.Context, w *unstructured.Unstructured, key string, pick func(*unstructured.Unstructured, func(string) bool) (string, error)) (*corev1.ConfigMap, error) {
	var found *corev1.ConfigMap
	var failed error
	_, err := pick(w, func(name string) bool {
		cm, err := s.k.CoreV1().ConfigMaps(w.GetNamespace()).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			failed = fmt.Errorf("get ConfigMap %s/%s: %w", w.GetNamespace(), name, err)
			return false
		}
		found = cm
		_, has := cm.Data[key]
		return has
	})
	if err != nil && failed != nil {
		return nil, failed
	}
	return found, err
}

// say prints one change.
func (s *switcher) say(format string, args ...any) {
	would := ""
	if s.o.dryRun {
		would = "would "
	}
	fmt.Fprintf(s.e.out, would+format+"\n", args...)
}

// replace writes a workload if it differs from what it was. The server refuses
// it if somebody else has written meanwhile.
func (s *switcher) replace(ctx context.Context, was workload, now *unstructured.Unstructured, how string) error {
	if reflect.DeepEqual(was.Object, now.Object) {
		fmt.Fprintf(s.e.out, "%s is as it should be\n", was.title())
		return nil
	}
	if !s.o.dryRun {
		c := s.workloads(was.resource).Namespace(was.GetNamespace())
		if _, err := c.Update(ctx, now, metav1.UpdateOptions{FieldManager: "magpiectl"}); err != nil {
			return fmt.Errorf("change %s: %w", was.title(), err)
		}
	}
	s.say("change %s: %s", was.title(), how)
	return nil
}

// current does a change to a workload as it is now, and again if somebody has
// written meanwhile: what runs its pods writes their number all the time.
func (s *switcher) current(ctx context.Context, w *workload, change func() error) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		u, err := s.workloads(w.resource).Namespace(w.GetNamespace()).Get(ctx, w.GetName(), metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("get %s: %w", w.title(), err)
		}
		w.Unstructured = u
		return change()
	})
}

// await waits until all pods are those of the new templates. That they are not
// in time is no error: a node that is switched off has no say in it.
func (s *switcher) await(ctx context.Context, turns []turn) error {
	if s.o.timeout <= 0 || s.o.dryRun {
		return nil
	}
	late, cancel := context.WithTimeout(ctx, s.o.timeout)
	defer cancel()
	for _, t := range turns {
		fmt.Fprintf(s.e.out, "%s: %s\n", t.workload().title(), s.rolledOut(ctx, late, t.workload()))
	}
	return ctx.Err()
}

// rolledOut waits for one, until late ends, and returns what there is to say.
func (s *switcher) rolledOut(ctx, late context.Context, w workload) string {
	for {
		done, text, err := s.rollout(ctx, w)
		if err == nil && done {
			return text
		}
		select {
		case <-late.Done():
			return "time is up, and " + text + "; it goes on"
		case <-time.After(time.Second):
		}
	}
}

// rollout says how many pods are of the current template and ready.
func (s *switcher) rollout(ctx context.Context, w workload) (done bool, text string, err error) {
	var have, want int32
	var seen bool
	if w.resource == "daemonsets" {
		var ds *appsv1.DaemonSet
		if ds, err = s.k.AppsV1().DaemonSets(w.GetNamespace()).Get(ctx, w.GetName(), metav1.GetOptions{}); err == nil {
			have, want = min(ds.Status.UpdatedNumberScheduled, ds.Status.NumberReady), ds.Status.DesiredNumberScheduled
			seen = ds.Status.ObservedGeneration >= ds.Generation
		}
	} else {
		var d *appsv1.Deployment
		if d, err = s.k.AppsV1().Deployments(w.GetNamespace()).Get(ctx, w.GetName(), metav1.GetOptions{}); err == nil {
			have, want = min(d.Status.UpdatedReplicas, d.Status.ReadyReplicas), d.Status.Replicas
			seen = d.Status.ObservedGeneration >= d.Generation
		}
	}
	if err != nil {
		return false, "it cannot be read: " + err.Error(), err
	}
	return seen && have >= want, fmt.Sprintf("%d of %d pods are up to date and ready", have, want), nil
}

// proxyTurn is a DaemonSet of kube-proxy.
type proxyTurn struct {
	s *switcher
	w workload
}

func (t *proxyTurn) workload() workload { return t.w }

func (t *proxyTurn) on(ctx context.Context, folder string) error {
	return t.s.current(ctx, &t.w, func() error { return t.enable(ctx, folder) })
}

func (t *proxyTurn) enable(ctx context.Context, folder string) error {
	cm, err := t.s.config(ctx, t.w.Unstructured, rewire.KubeconfigKey, rewire.ProxyConfig)
	if err != nil {
		return err
	}
	now, own, err := rewire.ProxyOn(t.w.Unstructured, cm, folder)
	if err != nil {
		return err
	}
	if err := t.s.write(ctx, own); err != nil {
		return err
	}
	return t.s.replace(ctx, t.w, now, "read Services from "+folder+", with the kubeconfig of ConfigMap "+own.Name)
}

func (t *proxyTurn) off(ctx context.Context) error {
	return t.s.current(ctx, &t.w, func() error { return t.disable(ctx) })
}

func (t *proxyTurn) disable(ctx context.Context) error {
	now, _, err := rewire.ProxyOff(t.w.Unstructured)
	if err != nil {
		return err
	}
	return t.s.replace(ctx, t.w, now, "read Services from the API server, as before")
}

func (t *proxyTurn) tidy(ctx context.Context) error {
	return t.s.remove(ctx, t.w.GetNamespace(), rewire.ProxyOwn(t.w.Unstructured))
}

// dnsTurn is a Deployment or a DaemonSet of CoreDNS.
type dnsTurn struct {
	s *switcher
	w workload
}

func (t *dnsTurn) workload() workload { return t.w }

func (t *dnsTurn) on(ctx context.Context, folder string) error {
	return t.s.current(ctx, &t.w, func() error { return t.enable(ctx, folder) })
}

func (t *dnsTurn) enable(ctx context.Context, folder string) error {
	cm, err := t.s.config(ctx, t.w.Unstructured, rewire.CorefileKey, rewire.CorefileConfig)
	if err != nil {
		return err
	}
	text, err := rewire.CorefileOn(cm.Data[rewire.CorefileKey])
	if err != nil {
		return fmt.Errorf("Corefile of ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err) //nolint:staticcheck // a name
	}
	now, err := rewire.DNSOn(t.w.Unstructured, folder)
	if err != nil {
		return err
	}
	// The line means nothing to pods that have not the folder.
	if err := t.s.corefile(ctx, cm, text, "import where to read Services from"); err != nil {
		return err
	}
	return t.s.replace(ctx, t.w, now, "mount "+folder)
}

func (t *dnsTurn) tidy(context.Context) error { return nil }

func (t *dnsTurn) off(ctx context.Context) error {
	return t.s.current(ctx, &t.w, func() error { return t.disable(ctx) })
}

func (t *dnsTurn) disable(ctx context.Context) error {
	cm, err := t.s.config(ctx, t.w.Unstructured, rewire.CorefileKey, rewire.CorefileConfig)
	if err != nil {
		return err
	}
	if err := t.s.corefile(ctx, cm, rewire.CorefileOff(cm.Data[rewire.CorefileKey]), "import nothing of ours any more"); err != nil {
		return err
	}
	now, _, err := rewire.DNSOff(t.w.Unstructured)
	if err != nil {
		return err
	}
	return t.s.replace(ctx, t.w, now, "unmount the folder")
}
