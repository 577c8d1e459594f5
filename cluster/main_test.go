// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/test/apiserver"
)

var server *apiserver.Server

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) } //nolint:forbidigo // how a TestMain ends

var (
	gateways = schema.GroupVersionResource{Group: "raven.openyurt.io", Version: "v1beta1", Resource: "gateways"}
	pools    = schema.GroupVersionResource{Group: "apps.openyurt.io", Version: "v1beta2", Resource: "nodepools"}
	sliceRes = schema.GroupVersionResource{Group: "net.magpie.dev", Version: "v1alpha1", Resource: "domainslices"}
	reports  = schema.GroupVersionResource{Group: "net.magpie.dev", Version: "v1alpha1", Resource: "linkreports"}
	nodes    = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
)

func client(tb testing.TB) *kubernetes.Clientset {
	tb.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func dyn() dynamic.Interface { return apiserver.Dynamic(server.Config) }

// empty removes everything that tests make, before and after the test.
func empty(tb testing.TB) {
	tb.Helper()
	all := func() {
		for _, r := range []schema.GroupVersionResource{gateways, pools, sliceRes, reports, nodes} {
			err := dyn().Resource(r).DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{})
			if err != nil {
				tb.Fatalf("delete all %s: %v", r.Resource, err)
			}
		}
	}
	all()
	tb.Cleanup(all)
}

// makeNode creates a Node and sets its status.
func makeNode(tb testing.TB, name, cidr string) *corev1.Node {
	tb.Helper()
	ctx := context.Background()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Spec.PodCIDR, n.Spec.PodCIDRs = cidr, []string{cidr}
	n, err := client(tb).CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.1.11"}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if n, err = client(tb).CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		tb.Fatal(err)
	}
	return n
}

// eventually repeats check until it returns nil.
func eventually(tb testing.TB, within time.Duration, check func() error) {
	tb.Helper()
	end := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func get(r schema.GroupVersionResource, name string) (*unstructured.Unstructured, error) {
	u, err := dyn().Resource(r).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", r.Resource, name, err)
	}
	return u, nil
}
