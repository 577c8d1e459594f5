// SPDX-License-Identifier: Apache-2.0

package topology_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
)

// fencing is the fleet of these tests, as one of its nodes sees it.
func fencing(node string, on bool) fleet.View {
	v := view()
	v.Self.Node, v.Settings.Fence = node, on
	return v
}

// TestClose: Services in, the plan of one node out.
func TestClose(t *testing.T) {
	golden.Run(t, "testdata/close-*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		var in struct {
			Node     string
			Fence    bool
			Services []*corev1.Service
		}
		if err := yaml.UnmarshalStrict(c.File(t, "in.yaml"), &in); err != nil {
			t.Fatal(err)
		}
		return topology.Close(fencing(in.Node, in.Fence), in.Services).Text()
	})
}

// TestCloseAgreesWithFence: whatever Services there are, a NodePort is closed
// in nftables exactly where Fence takes one away, so that a node's kube-proxy
// may read through the hub or not.
func TestCloseAgreesWithFence(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 3))
	lists := []string{"", "*", "-*", "shop-a", "-shop-a,*", "shop-b", "nowhere", ",-,", "shop-a,-shop-a"}
	for round := range 300 {
		var services []*corev1.Service
		for i := range r.IntN(8) {
			s := open(corev1.ServiceTypeLoadBalancer)
			s.Name = fmt.Sprint("s", i)
			s.Annotations = map[string]string{"nodeport.openyurt.io/listen": lists[r.IntN(len(lists))]}
			for p := range s.Spec.Ports {
				s.Spec.Ports[p].NodePort = int32(30000 + i*10 + p)
				s.Spec.Ports[p].Protocol = []corev1.Protocol{"", "TCP", "UDP", "SCTP"}[r.IntN(4)]
			}
			s.Spec.HealthCheckNodePort = int32(30000 + i*10 + 9)
			services = append(services, s)
		}
		for node, pool := range map[string]string{"a-1": "shop-a", "b-1": "shop-b", "stray": ""} {
			want := 0
			for _, s := range services {
				if seen := topology.Fence(s, pool); seen != s {
					want += len(s.Spec.Ports) + 1
				}
			}
			p := topology.Close(fencing(node, true), services)
			if len(p.Members) != want {
				t.Fatalf("round %d, node %s: %d ports closed, Fence takes %d\n%s", round, node, len(p.Members), want, p.Text())
			}
			slices.Reverse(services)
			if again := topology.Close(fencing(node, true), services); again.Text() != p.Text() {
				t.Fatalf("another order, another plan\n%s\n%s", p.Text(), again.Text())
			}
		}
	}
}

// TestCloseKeepsTheTable: no Service changes the table itself, so that a change
// of one is a change of elements.
func TestCloseKeepsTheTable(t *testing.T) {
	none := topology.Close(fencing("b-1", true), nil)
	one := topology.Close(fencing("b-1", true), []*corev1.Service{open(corev1.ServiceTypeNodePort)})
	if none.Tables[0] != one.Tables[0] {
		t.Error("the table differs")
	}
	for _, s := range plan.Diff(none, one) {
		if _, ok := s.Item.(plan.Member); !ok {
			t.Errorf("a step that is none of an element: %s", s)
		}
	}
}

func BenchmarkClose(b *testing.B) {
	var services []*corev1.Service
	for i := range 5000 {
		services = append(services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i), Annotations: map[string]string{"nodeport.openyurt.io/listen": "shop-a"}},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, ClusterIPs: []string{fmt.Sprintf("10.96.%d.%d", i/250, i%250+1)},
				Ports: []corev1.ServicePort{{Port: 80, NodePort: int32(30000 + i%2768), Protocol: corev1.Protocol([]string{"TCP", "UDP"}[i/2768])}},
			},
		})
	}
	v := fencing("b-1", true)
	b.ReportAllocs()
	for b.Loop() {
		if p := topology.Close(v, services); len(p.Members) != 5000 {
			b.Fatal(len(p.Members))
		}
	}
}
