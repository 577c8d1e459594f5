// SPDX-License-Identifier: Apache-2.0

package clients_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientfeatures "k8s.io/client-go/features"
	featurestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/topology"
)

// reader is a client with shared informers.
type reader struct {
	name    string
	factory informers.SharedInformerFactory
}

func newReader(t *testing.T, cfg *rest.Config, media string, watchList bool) *reader {
	t.Helper()
	featurestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, watchList)
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType, cfg.AcceptContentTypes = media, media
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{fmt.Sprintf("%s, watch list %v", media, watchList), informers.NewSharedInformerFactory(c, 0)}
	r.factory.Core().V1().Services().Informer()
	r.factory.Discovery().V1().EndpointSlices().Informer()
	r.factory.Core().V1().Endpoints().Informer()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); r.factory.Shutdown() })
	r.factory.StartWithContext(ctx)
	r.factory.WaitForCacheSync(t.Context().Done())
	return r
}

// sees returns what its informers hold of a namespace, each object as a line.
func (r *reader) sees(t *testing.T, namespace string) []string {
	t.Helper()
	services, err1 := r.factory.Core().V1().Services().Lister().Services(namespace).List(labels.Everything())
	slices, err2 := r.factory.Discovery().V1().EndpointSlices().Lister().EndpointSlices(namespace).List(labels.Everything())
	endpoints, err3 := r.factory.Core().V1().Endpoints().Lister().Endpoints(namespace).List(labels.Everything())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return lines(services, slices, endpoints)
}

// lines describes objects, without versions.
func lines(services []*corev1.Service, sliced []*discoveryv1.EndpointSlice, endpoints []*corev1.Endpoints) []string { //nolint:staticcheck // old clients read Endpoints
	var out []string
	for _, s := range services {
		out = append(out, fmt.Sprintf("service %s %v %v", s.Name, s.Annotations, s.Labels))
	}
	for _, s := range sliced {
		line := "slice " + s.Name
		for _, e := range s.Endpoints {
			line += " " + e.Addresses[0] + "@" + *e.NodeName
		}
		out = append(out, line)
	}
	for _, e := range endpoints {
		line := "endpoints " + e.Name
		for _, sub := range e.Subsets {
			for _, a := range sub.Addresses {
				line += " " + a.IP + "@" + *a.NodeName
			}
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// wants is what the node should see, by the API server and the filter.
func wants(t *testing.T, namespace string, at topology.Place) []string {
	t.Helper()
	services, err1 := admin(t).CoreV1().Services(namespace).List(t.Context(), metav1.ListOptions{})
	all, err2 := admin(t).DiscoveryV1().EndpointSlices(namespace).List(t.Context(), metav1.ListOptions{})
	old, err3 := admin(t).CoreV1().Endpoints(namespace).List(t.Context(), metav1.ListOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	var shown []*corev1.Service
	reach := map[string]topology.Reach{}
	for i := range services.Items {
		s := &services.Items[i]
		shown = append(shown, topology.Fence(s, at.Pool))
		reach[s.Name], _ = topology.ReachOf(s)
	}
	var pinned []*discoveryv1.EndpointSlice
	for i := range all.Items {
		s := &all.Items[i]
		if r, ok := reach[s.Labels[discoveryv1.LabelServiceName]]; ok {
			pinned = append(pinned, topology.Pin(s, r, at))
		}
	}
	var older []*corev1.Endpoints //nolint:staticcheck // old clients read Endpoints
	for i := range old.Items {
		if r, ok := reach[old.Items[i].Name]; ok {
			older = append(older, topology.PinEndpoints(&old.Items[i], r, at))
		}
	}
	return lines(shown, pinned, older)
}

// TestInformers: every kind of informer ends up, after many changes, with what
// the filter makes of the truth, and so does one that starts later.
func TestInformers(t *testing.T) {
	w := begin(t, t.TempDir())
	token := account(t, "crowd", true)
	var readers []*reader
	start := func() {
		for _, media := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
			for _, watchList := range []bool{true, false} {
				readers = append(readers, newReader(t, w.config(token), media, watchList))
			}
		}
	}
	start()
	moved := maps.Clone(pools)
	for step := range 60 {
		change(t, "crowd", step)
		if step%10 == 9 { // a node moves
			moved = maps.Clone(moved)
			moved[[]string{"a-1", "a-2", "b-1"}[step/10%3]] = []string{"shop-a", "shop-b"}[rand.N(2)]
			w.store.Place(place(moved))
		}
	}
	start()
	eventually(t, func() error {
		want := wants(t, "crowd", place(moved))
		for _, r := range readers {
			if d := cmp.Diff(want, r.sees(t, "crowd")); d != "" {
				return fmt.Errorf("%s (-want +got)\n%s", r.name, d)
			}
		}
		return nil
	})
	if got := w.server.Stats(); got.Refused != 0 || got.Passed != 0 {
		t.Errorf("informers were refused or passed on: %+v", got)
	}
}

// change does one thing to one of five Services.
func change(t *testing.T, namespace string, step int) {
	t.Helper()
	c, ctx, name := admin(t), t.Context(), "s"+strconv.Itoa(rand.N(5))
	s, err := c.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		shop(t, namespace, name, []string{"a-1", "a-2", "b-1"})
		return
	}
	switch rand.N(4) {
	case 0:
		value := []string{"kubernetes.io/hostname", "openyurt.io/nodepool", "nonsense"}[rand.N(3)]
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, "openyurt.io/topologyKeys", value)
		_, err = c.CoreV1().Services(namespace).Update(ctx, s, metav1.UpdateOptions{})
	case 1:
		s.Labels = map[string]string{"step": strconv.Itoa(step)}
		_, err = c.CoreV1().Services(namespace).Update(ctx, s, metav1.UpdateOptions{})
	case 2:
		all := []string{"a-1", "a-2", "b-1"}
		_, err = c.DiscoveryV1().EndpointSlices(namespace).Update(ctx, slice(name, all[:rand.N(4)]), metav1.UpdateOptions{})
	default:
		err = errors.Join(c.CoreV1().Services(namespace).Delete(ctx, name, metav1.DeleteOptions{}),
			c.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, name, metav1.DeleteOptions{}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWriteBack: what is read through the hub can be changed through it, with
// the precondition that informers and controllers use.
func TestWriteBack(t *testing.T) {
	w := begin(t, t.TempDir())
	token := account(t, "writer", true)
	shop(t, "writer", "till", []string{"a-1"}, "nodeport.openyurt.io/listen", "shop-b")
	w.settled(t, "writer", "till")
	c, err := kubernetes.NewForConfig(w.config(token))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.CoreV1().Services("writer").Get(t.Context(), "till", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stale := s.DeepCopy()
	s.Labels["read"] = "yes"
	if _, err := c.CoreV1().Services("writer").Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Errorf("update: %v", err)
	}
	if _, err := c.CoreV1().Services("writer").Update(t.Context(), stale, metav1.UpdateOptions{}); err == nil {
		t.Error("a second update of what was read before succeeds")
	}
}
