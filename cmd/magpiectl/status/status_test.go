// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	poolsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/golden"
)

// cluster is a test world that a case may spoil.
type cluster struct {
	status.Input
	slices []v1alpha1.DomainSlice
}

func key(fill string) string { return strings.Repeat(fill, 43) + "=" }

func (c *cluster) node(domain, pool, name, addr string) {
	i := len(c.Nodes) + 1
	cidr := fmt.Sprintf("10.42.%d.0/24", i%256)
	c.Nodes = append(c.Nodes, corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{api.LabelPool: pool}},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{cidr}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	})
	for j := range c.slices {
		if c.slices[j].Spec.Domain == domain {
			c.slices[j].Spec.Nodes = append(c.slices[j].Spec.Nodes, v1alpha1.SliceNode{
				Name: name, Pool: pool, Addresses: []string{addr}, PodCIDRs: []string{cidr}, VTEPMAC: "02:00:00:00:00:01",
			})
		}
	}
}

func (c *cluster) domain(name string, cloud bool, gateways ...v1alpha1.SliceGateway) {
	c.slices = append(c.slices, v1alpha1.DomainSlice{Spec: v1alpha1.DomainSliceSpec{Domain: name, Cloud: cloud, Gateways: gateways}})
	c.Gateways = append(c.Gateways, ravenv1beta1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: name}})
	for _, g := range gateways {
		c.Reports = append(c.Reports, v1alpha1.LinkReport{
			ObjectMeta: metav1.ObjectMeta{Name: g.Node},
			Spec:       v1alpha1.LinkReportSpec{PublicKey: g.PublicKey, Driver: "userspace", MTU: 1420},
		})
	}
}

// sees adds to the report of a node what it sees of a peer.
func (c *cluster) sees(node, peer string, live bool, rtt int64) {
	for i := range c.Reports {
		if c.Reports[i].Name == node {
			c.Reports[i].Status.Links = append(c.Reports[i].Status.Links, v1alpha1.LinkState{Node: peer, Live: live, RTTMicros: rtt, Path: "internet"})
		}
	}
}

func lab() *cluster {
	c := &cluster{}
	gw := func(node, fill string, active bool, endpoints ...string) v1alpha1.SliceGateway {
		return v1alpha1.SliceGateway{Node: node, PublicKey: key(fill), Active: active, MTU: 1420, Endpoints: endpoints}
	}
	c.domain("gw-cloud", true, gw("cloud-1", "1", true, "203.0.113.11:4500"), gw("cloud-2", "2", true, "203.0.113.12:4500"))
	c.domain("gw-shop-a", false, gw("a-1", "A", true), gw("a-2", "a", false))
	c.domain("gw-shop-b", false, gw("b-1", "B", true))
	c.node("gw-cloud", "vpc", "cloud-1", "10.0.0.11")
	c.node("gw-cloud", "vpc", "cloud-2", "10.0.0.12")
	c.node("gw-shop-a", "shop-a", "a-1", "192.168.1.11")
	c.node("gw-shop-a", "shop-a", "a-2", "192.168.1.12")
	c.node("gw-shop-b", "shop-b", "b-1", "192.168.1.11")
	for _, name := range []string{"vpc", "shop-a", "shop-b"} {
		p := poolsv1beta2.NodePool{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.Type = poolsv1beta2.Edge
		if name == "vpc" {
			p.Spec.Type = poolsv1beta2.Cloud
		}
		c.Pools = append(c.Pools, p)
	}
	for _, cloud := range []string{"cloud-1", "cloud-2"} {
		c.sees("a-1", cloud, true, 24_300)
		c.sees("b-1", cloud, true, 31_050)
		c.sees(cloud, "a-1", true, 24_300)
		c.sees(cloud, "b-1", true, 0)
	}
	return c
}

func (c *cluster) build(t *testing.T) status.Report {
	t.Helper()
	v, left, err := fleet.Build(fleet.Objects{Node: &corev1.Node{}, Slices: c.slices}, fleet.Host{}, fleet.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	v.Self = fleet.Self{}
	c.View, c.Left = v, append(c.Left, left...)
	c.Now = now
	return status.Build(c.Input)
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// cutOff is the lab ten minutes after the cable of shop-b was cut. What b-1
// wrote last still says that all is well.
func cutOff() *cluster {
	c := lab()
	for i := range c.Reports {
		for j := range c.Reports[i].Status.Links {
			if l := &c.Reports[i].Status.Links[j]; l.Node == "b-1" {
				l.Live, l.LastHeard = false, &metav1.Time{Time: now.Add(-10*time.Minute - 3*time.Second)}
			}
		}
	}
	c.Nodes[4].Status.Conditions[0] = corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "Kubelet stopped posting node status.",
		LastTransitionTime: metav1.NewTime(now.Add(-9 * time.Minute)),
	}
	return c
}

// worlds are what the goldens show, by the golden's name.
func worlds() map[string]func() *cluster {
	return map[string]func() *cluster{
		"lab":     lab,
		"cut-off": cutOff,
		"wrong": func() *cluster {
			c := lab()
			c.Nodes[1].Status.Conditions[0] = corev1.NodeCondition{
				Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "Kubelet stopped posting node status.",
				LastTransitionTime: metav1.NewTime(now.Add(-3 * time.Hour)),
			}
			c.node("gw-shop-b", "shop-b", "b-2", "192.168.1.12")
			c.Nodes[5].Spec.PodCIDRs = nil
			c.node("gw-plant", "plant", "c-1", "172.20.0.11")
			c.slices[1].Spec.Nodes[1].VTEPMAC = ""
			c.slices[1].Spec.Nodes[0].Addresses = []string{"192.168.1"}
			c.Reports[2].Spec.PublicKey = key("Z")
			c.Reports[4].Status.Links, c.Reports[4].Status.Live = nil, 0
			for i := range c.Reports[:2] {
				c.Reports[i].Status.Links = nil
			}
			c.sees("b-1", "cloud-1", false, 0)
			c.sees("b-1", "cloud-2", false, 0)
			c.Gateways = append(c.Gateways, ravenv1beta1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "gw-kiosk"}})
			return c
		},
		"no-gateways": func() *cluster {
			c := lab()
			c.slices[2].Spec.Gateways[0].PublicKey, c.Reports = "", c.Reports[:4]
			for i := range c.slices[0].Spec.Gateways {
				c.slices[0].Spec.Gateways[i].Endpoints = nil
			}
			return c
		},
		"links-off": func() *cluster {
			c := lab()
			c.Linkless = true
			for i := range c.slices {
				c.slices[i].Spec.Gateways = nil
			}
			return c
		},
		"many": func() *cluster {
			c := lab()
			for i := range 300 {
				c.node("gw-shop-a", "shop-a", fmt.Sprintf("a-node-with-a-very-long-name-%03d", i), "192.168.1.99")
			}
			c.Nodes[77].Status.Conditions[0].Status = corev1.ConditionFalse
			return c
		},
		"fresh": func() *cluster {
			c := &cluster{}
			c.node("", "", "n1", "")
			return c
		},
	}
}

func TestText(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		r := worlds()[c.Name]().build(t)
		if r.OK != (len(r.Problems) == 0) {
			t.Errorf("ok is %v with %d problems", r.OK, len(r.Problems))
		}
		text := status.Text(r, false)
		for line := range strings.Lines(text) {
			if len(strings.TrimRight(line, "\n")) > page.Width {
				t.Errorf("wider than %d columns: %q", page.Width, line)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Error("colour without a terminal")
		}
		return text
	})
}

// TestEveryProblemSaysWhatToDo holds the promise of the package comment.
func TestEveryProblemSaysWhatToDo(t *testing.T) {
	n := 0
	for name, world := range worlds() {
		for _, p := range world().build(t).Problems {
			n++
			if p.Code == "" || p.Subject == "" || p.Text == "" || p.Do == "" {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
	if n < 8 {
		t.Errorf("%d problems in all the worlds: they are not wrong enough", n)
	}
}

// TestTrouble: what a test of connectivity says of a node it cannot test.
func TestTrouble(t *testing.T) {
	r := cutOff().build(t)
	want := "site gw-shop-b is cut off: b-1 and cloud-1 do not hear each other for 10m (since 2026-11-22T11:49:57Z); " +
		"node b-1 is NotReady for 9m (since 2026-11-22T11:51:00Z): Kubelet stopped posting node status."
	if got := r.Trouble("b-1"); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for _, node := range []string{"a-1", "cloud-1", "nobody"} {
		if got := r.Trouble(node); got != "" {
			t.Errorf("%s: %s", node, got)
		}
	}
}
