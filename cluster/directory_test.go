// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/directory"
)

func startDirectory(t *testing.T, c *clock) *cluster.Directory {
	t.Helper()
	d, err := cluster.NewDirectory(asPod(t, "magpie-gateway", "magpie-gateway-0"), cluster.DirectoryOptions{
		Namespace: namespace, Service: "magpie-gateway", Now: c.now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, d.Run)
	eventually(t, 10*time.Second, d.Ready)
	return d
}

// TestDirectory watches with the gateway's own rights.
func TestDirectory(t *testing.T) {
	empty(t)
	installTunnel(t)
	node := makeNode(t, "shop-1", "10.42.0.0/24")
	makeNode(t, "shop-2", "10.42.1.0/24")
	serve(t, "magpie-gateway", "magpie-gateway-0", "shop-1", "10.42.0.7")
	var c clock
	d := startDirectory(t, &c)

	if got, err := d.Resolve("shop-1", 10250); err != nil || len(got) != 1 || got[0] != (directory.Route{Node: "shop-1", Port: 10250}) {
		t.Errorf("resolve shop-1: %+v, %v", got, err)
	}
	if _, err := d.Resolve("192.168.1.11", 10250); !errors.Is(err, directory.ErrAmbiguous) {
		t.Errorf("resolve an address that two nodes have: %v, want %v", err, directory.ErrAmbiguous)
	}
	if _, err := d.Resolve("kubernetes.default.svc", 443); !errors.Is(err, directory.ErrForbidden) {
		t.Errorf("resolve the API server: %v, want %v", err, directory.ErrForbidden)
	}
	eventually(t, 5*time.Second, func() error {
		if got := d.Instances(); len(got) != 1 || got[0].Name != "magpie-gateway-0" || !got[0].Ready {
			return fmt.Errorf("instances: %+v", got)
		}
		if got, err := d.Resolve("magpie-gateway."+namespace+".svc", 443); err != nil || got[0].Addr.String() != "10.42.0.7" || got[0].Port != 10443 {
			return fmt.Errorf("resolve a Service: %+v, %w", got, err)
		}
		return nil
	})

	if uid, ok := d.NodeUID("shop-1"); !ok || uid != string(node.UID) {
		t.Errorf("UID of shop-1: %s, %t", uid, ok)
	}
	began := time.Now()
	if err := client(t).CoreV1().Nodes().Delete(t.Context(), "shop-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case gone := <-d.Removed():
		t.Logf("deletion noticed after %s", time.Since(began).Round(time.Millisecond))
		if gone.Node != "shop-1" || gone.UID != string(node.UID) || time.Since(began) > 2*time.Second {
			t.Errorf("removed: %+v after %s", gone, time.Since(began))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the deletion of a Node is not noticed")
	}
	if _, err := d.Resolve("shop-1", 10250); !errors.Is(err, directory.ErrUnknown) {
		t.Errorf("resolve a Node that is gone: %v", err)
	}
}

// serve makes a headless Service with one endpoint.
func serve(t *testing.T, name, pod, node, addr string) {
	t.Helper()
	ctx, c := t.Context(), client(t)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.Ports = []corev1.ServicePort{{Name: "agents", Port: 443}}
	if _, err := c.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	port, portName := int32(10443), "agents"
	e := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{addr}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod},
		}},
		Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
	if _, err := c.DiscoveryV1().EndpointSlices(namespace).Create(ctx, e, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err1 := c.CoreV1().Services(namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
		err2 := c.DiscoveryV1().EndpointSlices(namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
		if err := errors.Join(err1, err2); err != nil {
			t.Error(err)
		}
	})
}

// TestAccess asks the real API server about tokens and rights, and looks how
// long the answers are believed.
func TestAccess(t *testing.T) {
	empty(t)
	installTunnel(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	var c clock
	d := startDirectory(t, &c)
	ctx := t.Context()

	for _, token := range []string{"", "nonsense", "eyJhbGciOiJSUzI1NiJ9.e30.AAAA"} {
		if u, err := d.Authenticate(ctx, token); !errors.Is(err, cluster.ErrUnauthenticated) {
			t.Errorf("token %q: %+v, %v, want %v", token, u, err, cluster.ErrUnauthenticated)
		}
	}
	user, err := d.Authenticate(ctx, asAccount(t, "magpie-agent", nil).BearerToken)
	if err != nil || user.Name != "system:serviceaccount:"+namespace+":magpie-agent" {
		t.Fatalf("an agent's token: %+v, %v", user, err)
	}
	if err := d.Authorize(ctx, user, "get", "shop-1", "metrics"); !errors.Is(err, cluster.ErrForbidden) {
		t.Errorf("an agent may read metrics: %v", err)
	}

	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "test-metrics"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes/metrics"}, Verbs: []string{"get"}},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-metrics"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "test-metrics"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "magpie-agent", Namespace: namespace}},
	}
	rbac := client(t).RbacV1()
	if _, err := rbac.ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := rbac.ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = rbac.ClusterRoles().Delete(context.Background(), "test-metrics", metav1.DeleteOptions{})
	})
	if err := d.Authorize(ctx, user, "get", "shop-1", "metrics"); !errors.Is(err, cluster.ErrForbidden) {
		t.Errorf("a refusal is not remembered: %v", err)
	}
	c.move(6 * time.Second)
	eventually(t, 5*time.Second, func() error {
		err := d.Authorize(ctx, user, "get", "shop-1", "metrics")
		c.move(6 * time.Second) // the authorizer follows the binding with a delay
		return err
	})
	if err := d.Authorize(ctx, user, "get", "shop-1", "proxy"); !errors.Is(err, cluster.ErrForbidden) {
		t.Errorf("a right to metrics opens proxy: %v", err)
	}

	if err := rbac.ClusterRoleBindings().Delete(ctx, "test-metrics", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error {
		c.move(31 * time.Second)
		if err := d.Authorize(ctx, user, "get", "shop-1", "metrics"); !errors.Is(err, cluster.ErrForbidden) {
			return fmt.Errorf("the right is gone and still believed: %w", err)
		}
		return nil
	})
}
