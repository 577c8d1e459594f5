// SPDX-License-Identifier: Apache-2.0

package topology_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/topology"
)

func TestListens(t *testing.T) {
	for _, c := range []struct {
		list, pool string
		want       bool
	}{
		{"foo", "foo", true},
		{"foo", "bar", false},
		{"-foo", "foo", false},
		{"-foo", "bar", false},
		{"*", "bar", true},
		{"-*", "bar", false},
		{"-foo,*", "foo", false},
		{"*,-foo", "foo", false},
		{"-foo,*", "bar", true},
		{"foo,-*", "foo", true},
		{" foo , bar ", "bar", true},
		// The first mention of a name counts.
		{"foo,-foo", "foo", true},
		{"-foo,foo", "foo", false},
		{"*,-*", "foo", true},
		{"-*,*", "foo", false},
		// Nothing is said: nobody listens.
		{"", "foo", false},
		{" ", "foo", false},
		{",,-,", "foo", false},
		{"fo", "foo", false},
		{"--foo", "-foo", false},
		// A node in no pool is not asked.
		{"foo", "", true},
		{"-*", "", true},
	} {
		svc := service(map[string]string{"nodeport.openyurt.io/listen": c.list})
		if got := topology.Listens(svc, c.pool); got != c.want {
			t.Errorf("listen %q, pool %q: %v, want %v", c.list, c.pool, got, c.want)
		}
	}
	if !topology.Listens(service(nil), "foo") {
		t.Error("a Service without the annotation does not listen")
	}
}

// open is a Service with a NodePort that only pool foo shall open.
func open(kind corev1.ServiceType) *corev1.Service {
	s := service(map[string]string{"nodeport.openyurt.io/listen": "foo"})
	s.Spec = corev1.ServiceSpec{
		Type: kind, ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"},
		Ports:                 []corev1.ServicePort{{Name: "web", Port: 80, NodePort: 30080}, {Name: "tls", Port: 443, NodePort: 30443}},
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
	}
	if kind == corev1.ServiceTypeLoadBalancer {
		s.Spec.HealthCheckNodePort = 31000
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}}
	}
	return s
}

func TestFence(t *testing.T) {
	for _, c := range []struct {
		name string
		in   *corev1.Service
		edit func(*corev1.Service) // from in to what pool bar shall see
	}{
		{"NodePort", open(corev1.ServiceTypeNodePort), func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeClusterIP
			s.Spec.ExternalTrafficPolicy = ""
		}},
		{"NodePort with external addresses", withExternal(open(corev1.ServiceTypeNodePort)), func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeClusterIP
		}},
		{"LoadBalancer", open(corev1.ServiceTypeLoadBalancer), func(s *corev1.Service) {
			no := false
			s.Spec.AllocateLoadBalancerNodePorts = &no
			s.Spec.HealthCheckNodePort = 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := topology.Fence(c.in, "foo"); got != c.in {
				t.Error("a pool that listens sees a copy")
			}
			want, before := c.in.DeepCopy(), c.in.DeepCopy()
			c.edit(want)
			want.Spec.Ports[0].NodePort, want.Spec.Ports[1].NodePort = 0, 0
			if d := cmp.Diff(want, topology.Fence(c.in, "bar")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if d := cmp.Diff(before, c.in); d != "" {
				t.Errorf("the argument was changed (-before +after)\n%s", d)
			}
		})
	}
}

func withExternal(s *corev1.Service) *corev1.Service {
	s.Spec.ExternalIPs = []string{"198.51.100.7"}
	return s
}

// TestFenceUnconcerned: a Service that opens no NodePort has none to lose,
// whatever its annotation says.
func TestFenceUnconcerned(t *testing.T) {
	headless := service(map[string]string{"nodeport.openyurt.io/listen": "foo"})
	headless.Spec = corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 80}}}
	external := service(map[string]string{"nodeport.openyurt.io/listen": "foo"})
	external.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}
	for _, s := range []*corev1.Service{headless, external} {
		if topology.Fence(s, "bar") != s {
			t.Errorf("%s %s was copied", s.Spec.Type, s.Spec.ClusterIP)
		}
	}
}

func FuzzListens(f *testing.F) {
	f.Add("foo,-bar,*", "foo")
	f.Fuzz(func(t *testing.T, list, pool string) {
		svc := service(map[string]string{"nodeport.openyurt.io/listen": list})
		plain := topology.Listens(svc, pool)
		svc.Annotations["nodeport.openyurt.io/listen"] = list + "," + list
		if topology.Listens(svc, pool) != plain {
			t.Errorf("listen %q said twice means something else to pool %q", list, pool)
		}
	})
}
