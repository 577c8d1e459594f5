// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	poolsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/cmd/magpiectl/service"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/topology"
)

// lab is two shops and a cloud, with a web server on three nodes of them; a
// node in no pool, and a pool without nodes.
func lab() *service.Input {
	in := &service.Input{HubOff: "nobody runs one here", Service: &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.0.7", Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, NodePort: 30080}, {Name: "https", Port: 443, NodePort: 30443},
		}},
	}}
	for node, pool := range map[string]string{"a-1": "shop-a", "a-2": "shop-a", "b-1": "shop-b", "cloud-1": "vpc", "alone": ""} {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{}}}
		switch pool {
		case "":
		case "vpc":
			n.Labels[api.LabelPoolACK] = pool
		default:
			n.Labels[api.LabelPool] = pool
		}
		in.Nodes = append(in.Nodes, n)
	}
	for name, kind := range map[string]string{"shop-a": "Edge", "shop-b": "Edge", "kiosk": "Edge"} {
		p := poolsv1beta2.NodePool{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.Type = kind
		in.Pools = append(in.Pools, p)
	}
	endpoints(in, "a-1 10.42.1.5", "a-2 10.42.2.5 no", "cloud-1 10.42.9.5")
	return in
}

// endpoints gives the Service a slice of them: "NODE ADDRESS [no|ends]".
func endpoints(in *service.Input, texts ...string) {
	s := discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	for i, text := range texts {
		f := strings.Fields(text)
		ready := len(f) == 2
		e := discoveryv1.Endpoint{
			Addresses: []string{f[1]}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: fmt.Sprintf("web-%d", i)},
		}
		if !ready && f[2] == "ends" {
			yes := true
			e.Conditions.Serving, e.Conditions.Terminating = &yes, &yes
		}
		if f[0] != "-" {
			e.NodeName = &f[0]
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	in.Slices = append(in.Slices, s)
}

func pin(in *service.Input, value string)   { in.Service.Annotations[api.AnnotationTopology] = value }
func fence(in *service.Input, value string) { in.Service.Annotations[api.AnnotationListen] = value }

func worlds() map[string]func(in *service.Input) {
	return map[string]func(in *service.Input){
		"plain": func(*service.Input) {},
		"pool": func(in *service.Input) {
			pin(in, "openyurt.io/nodepool")
			fence(in, "shop-a, -shop-b, shop-x, *")
		},
		"node": func(in *service.Input) {
			pin(in, "kubernetes.io/hostname")
			fence(in, "-shop-a")
			local := corev1.ServiceInternalTrafficPolicyLocal
			in.Service.Spec.InternalTrafficPolicy = &local
		},
		"nftables": func(in *service.Input) {
			pin(in, "openyurt.io/nodepool")
			fence(in, "shop-a")
			in.FenceInNFTables = true
		},
		// The web server is being replaced: what ends is used where nothing is ready.
		"policies": func(in *service.Input) {
			pin(in, "openyurt.io/nodepool")
			in.HubOff = ""
			in.Slices = nil
			endpoints(in, "a-1 10.42.1.5", "a-2 10.42.2.5 ends", "cloud-1 10.42.9.5 ends", "b-1 10.42.4.5 no")
			in.Service.Spec.Type = corev1.ServiceTypeLoadBalancer
			in.Service.Spec.ExternalTrafficPolicy, in.Service.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 31000
			near := corev1.ServiceTrafficDistributionPreferSameZone
			in.Service.Spec.TrafficDistribution = &near
		},
		"near": func(in *service.Input) {
			in.HubOff = ""
			near := corev1.ServiceTrafficDistributionPreferSameNode
			in.Service.Spec.TrafficDistribution = &near
		},
		"unknown": func(in *service.Input) { pin(in, "kubernetes.io/zone, kubernetes.io/hostname"); in.HubOff = "" },
		"nobody": func(in *service.Input) {
			in.Slices = nil
			pin(in, "kubernetes.io/zone")
			in.Service.Spec = corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}
			fence(in, "")
		},
		"many": func(in *service.Input) {
			pin(in, "kubernetes.io/hostname")
			for i := range 300 {
				n := corev1.Node{ObjectMeta: metav1.ObjectMeta{
					Name:   fmt.Sprintf("a-node-with-a-very-long-name-%03d", i),
					Labels: map[string]string{api.LabelPool: fmt.Sprintf("a-pool-with-a-very-long-name-%02d", i/6)},
				}}
				in.Nodes = append(in.Nodes, n)
				if i%2 == 0 {
					endpoints(in, fmt.Sprintf("%s 2001:db8:1234:5678:9abc:def0:1234:%x", n.Name, i))
				}
			}
		},
	}
}

func TestText(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		in := lab()
		worlds()[c.Name](in)
		r := service.Build(*in)
		if r.OK != (len(r.Problems) == 0) {
			t.Errorf("ok is %v with %d problems", r.OK, len(r.Problems))
		}
		text := service.Text(r, false)
		for line := range strings.Lines(text) {
			if len(strings.TrimRight(line, "\n")) > page.Width {
				t.Errorf("wider than %d columns: %q", page.Width, line)
			}
		}
		return text
	})
}

// TestReasons: the reason says what the rule says.
func TestReasons(t *testing.T) {
	d := rand.New(rand.NewPCG(4, 8))
	words := []string{"a", "-a", "b", "-b", "*", "-*", "", " a ", "--a", "aa"}
	for range 3000 {
		var items []string
		for range d.IntN(5) {
			items = append(items, words[d.IntN(len(words))])
		}
		value := strings.Join(items, ",")
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{api.AnnotationListen: value}}}
		for _, pool := range []string{"a", "b", "c", ""} {
			why := service.Listening(&value, pool)
			if listens := topology.Listens(svc, pool); strings.HasPrefix(why, "open: ") != listens || strings.HasPrefix(why, "closed: ") == listens {
				t.Fatalf("listen %q in pool %q is %t, and the reason is %q", value, pool, listens, why)
			}
		}
	}
	if why := service.Listening(nil, "a"); !strings.HasPrefix(why, "open: ") {
		t.Errorf("no annotation: %s", why)
	}
}

// TestSees: what a place sees is what Pin leaves there.
func TestSees(t *testing.T) {
	in := lab()
	pin(in, "openyurt.io/nodepool")
	endpoints(in, "alone 10.42.8.5", "- 10.9.9.9")
	want := map[string]string{
		"a-1": "[10.42.1.5 10.42.2.5] 1", "a-2": "[10.42.1.5 10.42.2.5] 1", "b-1": "[] 0",
		"cloud-1": "[10.42.9.5] 1", "alone": "[10.42.8.5] 1",
	}
	for _, n := range service.Build(*in).Nodes {
		if got := fmt.Sprint(n.Sees, n.Ready); got != want[n.Name] {
			t.Errorf("%s sees %s, want %s", n.Name, got, want[n.Name])
		}
	}
}
