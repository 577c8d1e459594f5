// SPDX-License-Identifier: Apache-2.0

package nodepool_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
)

// dice makes random clusters from a seed.
type dice struct {
	*rand.Rand
	next int // number of the next node
}

func (d *dice) node() *corev1.Node {
	i := d.next
	d.next++
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:              fmt.Sprintf("n%04d", d.IntN(9000)+i*10000),
		CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000+int64(d.IntN(50)), 0)),
	}}
	if pool := d.IntN(4); pool > 0 {
		n.Labels = map[string]string{api.LabelPool: fmt.Sprintf("shop-%d", pool), api.LabelEdgeWorker: "true"}
	}
	n.Spec.PodCIDRs = []string{fmt.Sprintf("10.%d.%d.0/24", 100+i/250, i%250)}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}}
	if d.IntN(2) == 0 {
		n.Status.Conditions[0].Status = corev1.ConditionTrue
	}
	return n
}

func (d *dice) cluster(nodes int) fleet.Cluster {
	var in fleet.Cluster
	for range nodes {
		n := d.node()
		in.Nodes = append(in.Nodes, n)
		if d.IntN(3) == 0 {
			r := &v1alpha1.LinkReport{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
			r.Spec.PublicKey = "KEY-" + n.Name
			in.Reports = append(in.Reports, r)
		}
	}
	return in
}

func planned(t *testing.T, p nodepool.Plan, err error) map[string]plan.Manifest {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]plan.Manifest{}
	for _, m := range p.Manifests {
		if _, twice := out[m.Name]; twice {
			t.Fatalf("%s is planned twice", m)
		}
		out[m.Name] = m
	}
	return out
}

// settle writes what is planned into the cluster, as the manager would.
func settle(t *testing.T, in *fleet.Cluster) map[string]plan.Manifest {
	t.Helper()
	p, err := nodepool.Gateways(*in)
	in.Gateways = nil
	for _, m := range planned(t, p, err) {
		g := new(ravenv1beta1.Gateway)
		decode(t, m, g)
		in.Gateways = append(in.Gateways, g)
	}
	p, err = nodepool.Status(*in)
	status := planned(t, p, err)
	for _, g := range in.Gateways {
		decode(t, status[g.Name], g)
	}
	p, err = nodepool.Slices(*in, 1)
	want := planned(t, p, err)
	in.Slices = nil
	for _, m := range want {
		s := new(v1alpha1.DomainSlice)
		decode(t, m, s)
		in.Slices = append(in.Slices, s)
	}
	return want
}

func decode(t *testing.T, m plan.Manifest, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(m.JSON), into); err != nil {
		t.Fatal(err)
	}
}

// TestLaws checks on random clusters what must hold for all.
func TestLaws(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := &dice{Rand: rand.New(rand.NewPCG(seed, 7))}
			in := d.cluster(1 + d.IntN(900))
			settle(t, &in)
			at := settle(t, &in) // the second time elections know the last one
			checkSlices(t, in)
			checkElections(t, in)

			d.Shuffle(len(in.Nodes), func(i, j int) { in.Nodes[i], in.Nodes[j] = in.Nodes[j], in.Nodes[i] })
			d.Shuffle(len(in.Slices), func(i, j int) { in.Slices[i], in.Slices[j] = in.Slices[j], in.Slices[i] })
			d.Shuffle(len(in.Gateways), func(i, j int) { in.Gateways[i], in.Gateways[j] = in.Gateways[j], in.Gateways[i] })
			if diff := cmp.Diff(at, settle(t, &in)); diff != "" {
				t.Fatalf("the order of the input or a second round changes the plan:\n%s", diff)
			}

			// A node without a key that is not Ready is nobody's candidate before others.
			join := d.node()
			join.Status.Conditions[0].Status = corev1.ConditionFalse
			in.Nodes = append(in.Nodes, join)
			p, err := nodepool.Slices(in, 1)
			changedOne(t, at, planned(t, p, err), join.Name+" joins")
			in.Nodes = in.Nodes[:len(in.Nodes)-1]

			gone := d.IntN(len(in.Nodes))
			if slices.ContainsFunc(in.Gateways, func(g *ravenv1beta1.Gateway) bool { return lists(g, in.Nodes[gone].Name) }) {
				return // a candidate's leaving also changes the first slice, which lists the gateways
			}
			name := in.Nodes[gone].Name
			in.Nodes = slices.Delete(in.Nodes, gone, gone+1)
			p, err = nodepool.Slices(in, 1)
			changedOne(t, at, planned(t, p, err), name+" leaves")
		})
	}
}

func lists(g *ravenv1beta1.Gateway, node string) bool {
	return slices.ContainsFunc(g.Spec.Endpoints, func(e ravenv1beta1.Endpoint) bool { return e.NodeName == node })
}

// changedOne accepts a second slice only where the node's arrival also makes
// it a candidate, because the first slice lists the gateways.
func changedOne(t *testing.T, before, after map[string]plan.Manifest, what string) {
	t.Helper()
	var changed []string
	for name, m := range after {
		if before[name] != m {
			changed = append(changed, name)
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			changed = append(changed, name)
		}
	}
	if len(changed) != 1 {
		t.Errorf("%s: slices %v change, want one", what, changed)
	}
}

func checkSlices(t *testing.T, in fleet.Cluster) {
	t.Helper()
	domainOf := map[string]string{}
	for _, p := range nodepool.Places(in) {
		domainOf[p.Node] = p.Domain
	}
	for _, s := range in.Slices {
		if len(s.Spec.Nodes) > v1alpha1.NodesPerSlice {
			t.Errorf("slice %s holds %d nodes", s.Name, len(s.Spec.Nodes))
		}
		for _, n := range s.Spec.Nodes {
			if domainOf[n.Name] != s.Spec.Domain {
				t.Errorf("node %s is in slice %s a second time or in a wrong domain", n.Name, s.Name)
			}
			delete(domainOf, n.Name)
		}
	}
	for n := range domainOf {
		t.Errorf("node %s is in no slice", n)
	}
}

func checkElections(t *testing.T, in fleet.Cluster) {
	t.Helper()
	for _, g := range in.Gateways {
		if len(g.Spec.Endpoints) > 0 && len(g.Status.ActiveEndpoints) == 0 {
			t.Errorf("domain %s has candidates and no active gateway", g.Name)
		}
		if g.Name != api.GatewayCloud && len(g.Status.ActiveEndpoints) > 1 {
			t.Errorf("domain %s has %d active gateways", g.Name, len(g.Status.ActiveEndpoints))
		}
	}
}

// FuzzFlannelAnnotation: whatever a node writes, a slice holds a unicast MAC or
// none.
func FuzzFlannelAnnotation(f *testing.F) {
	for _, s := range []string{
		`{"VNI":1,"VtepMAC":"ce:1b:00:00:00:01"}`, `{"VNI":1,"VtepMAC":"CE-1B-00-00-00-01"}`, "null", "{}", "[", `{"VtepMAC":1}`,
		`{"VNI":1,"VtepMAC":"ff:ff:ff:ff:ff:ff"}`, `{"VNI":null,"VtepMAC":"ce:1b:00:00:00:01 "}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{
			api.FlannelBackendType: "vxlan", api.FlannelBackendData: text, api.FlannelPublicIP: text,
		}}}
		p, err := nodepool.Slices(fleet.Cluster{Nodes: []*corev1.Node{n}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		var s v1alpha1.DomainSlice
		decode(t, p.Manifests[0], &s)
		if mac := s.Spec.Nodes[0].VTEPMAC; mac != "" {
			hw, err := net.ParseMAC(mac)
			if err != nil || len(hw) != 6 || hw[0]&1 != 0 {
				t.Errorf("%q became MAC %q", text, mac)
			}
		}
	})
}

func BenchmarkSlices(b *testing.B) {
	d := &dice{Rand: rand.New(rand.NewPCG(1, 1))}
	in := d.cluster(5000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nodepool.Slices(in, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMembers(b *testing.B) {
	d := &dice{Rand: rand.New(rand.NewPCG(1, 1))}
	in := d.cluster(5000)
	for i := range 4 {
		p := &appsv1beta2.NodePool{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("shop-%d", i)}}
		p.Spec.Labels = map[string]string{"tier": "silver"}
		p.Spec.Taints = []corev1.Taint{{Key: "shop", Effect: corev1.TaintEffectNoSchedule}}
		in.Pools = append(in.Pools, p)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nodepool.Members(in); err != nil {
			b.Fatal(err)
		}
	}
}
