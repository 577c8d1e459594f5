// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/cmd/magpiectl/doctor"
	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/cmd/magpiectl/sessions"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/plan"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func pod(name, node string, ready corev1.ConditionStatus) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "magpie-system"},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
}

// well is a cluster of two sites and a cloud with nothing wrong.
func well() doctor.Patient {
	two := 2
	p := doctor.Patient{
		Now: now, Status: &status.Report{OK: true}, DNS: &two, Tunnel: &sessions.Report{OK: true},
		CRDs: map[string]bool{
			"domainslices.net.magpie.dev": true, "linkreports.net.magpie.dev": true,
			"gateways.raven.openyurt.io": true, "nodepools.apps.openyurt.io": true,
		},
		Lease:     &doctor.Lease{Holder: "cloud-1_f00", Renewed: now.Add(-3 * time.Second), Lasts: 15 * time.Second},
		Reports:   []v1alpha1.LinkReport{},
		PodRanges: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, ServiceRanges: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		Addresses: map[string][]netip.Addr{"a-1": {netip.MustParseAddr("192.168.1.11")}},
		Services: &doctor.Services{
			Served:  true,
			Readers: []doctor.Reader{{Name: "DaemonSet kube-system/kube-proxy", Hub: true}, {Name: "Deployment kube-system/coredns", Hub: true}},
			Pools:   []string{"shop-a", "shop-b", "vpc"}, PoolOf: map[string]string{}, Ready: map[string][]string{},
		},
	}
	for _, n := range []string{"cloud-1", "a-1", "a-2", "b-1"} {
		domain := map[byte]string{'c': "gw-cloud", 'a': "gw-shop-a", 'b': "gw-shop-b"}[n[0]]
		p.Services.PoolOf[n] = map[byte]string{'c': "vpc", 'a': "shop-a", 'b': "shop-b"}[n[0]]
		p.Status.Nodes = append(p.Status.Nodes, status.Node{Name: n, Domain: domain, Ready: true})
		p.Agents = append(p.Agents, pod("magpie-agent-"+n, n, corev1.ConditionTrue))
		p.Proxies = append(p.Proxies, pod("kube-proxy-"+n, n, corev1.ConditionTrue))
		p.Reports = append(p.Reports, v1alpha1.LinkReport{
			ObjectMeta: metav1.ObjectMeta{Name: n}, Status: v1alpha1.LinkReportStatus{Agent: "v0.1.0"},
		})
	}
	for _, g := range []string{"a-1", "b-1"} {
		p.Status.Links = append(p.Status.Links, status.Link{
			Gateway: g, Domain: "gw-shop-" + g[:1], Peer: "cloud-1", PeerDomain: "gw-cloud", State: status.Live, MTU: 1420,
		})
	}
	return p
}

func (w *world) problem(code, subject, text, do string) {
	w.Status.OK = false
	w.Status.Problems = append(w.Status.Problems, status.Problem{Code: code, Subject: subject, Text: text, Do: do})
}

type world struct{ doctor.Patient }

// service adds one with a NodePort and annotations, pairs, and ready endpoints
// on those nodes.
func (w *world) service(name string, nodes []string, annotations ...string) *corev1.Service {
	s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: map[string]string{}}}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, NodePort: 30080}}
	for i := 0; i < len(annotations); i += 2 {
		s.Annotations[annotations[i]] = annotations[i+1]
	}
	w.Services.Marked = append(w.Services.Marked, s)
	w.Services.Ready["shop/"+name] = nodes
	return &w.Services.Marked[len(w.Services.Marked)-1]
}

const (
	topologyKeys = "openyurt.io/topologyKeys"
	listen       = "nodeport.openyurt.io/listen"
	byPool       = "openyurt.io/nodepool"
)

// worlds are what the goldens show, by the golden's name.
func worlds() map[string]func(w *world) {
	return map[string]func(w *world){
		"well": func(*world) {},
		"not-installed": func(w *world) {
			w.CRDs["domainslices.net.magpie.dev"], w.CRDs["linkreports.net.magpie.dev"] = false, false
			w.Status, w.Reports, w.Agents = nil, nil, []corev1.Pod{}
			w.Lease, w.PodRanges, w.Proxies, w.DNS, w.Tunnel, w.Services = &doctor.Lease{}, nil, nil, nil, nil, nil
		},
		"may-not-look": func(w *world) {
			w.Patient = doctor.Patient{Now: now, Denied: map[string]string{}}
			for _, c := range doctor.Checks() {
				w.Denied[c.Name()] = `list nodes: nodes is forbidden: User "eve" cannot list resource "nodes"`
			}
		},
		// The site's cable is cut: its node is not Ready and its kube-proxy
		// neither. One finding.
		"cut-off": func(w *world) {
			heard := now.Add(-10 * time.Minute)
			w.Status.Links[1].State, w.Status.Links[1].LastHeard = status.Down, &heard
			w.Status.Nodes[3].Ready = false
			w.problem("link-down", "link b-1 to cloud-1", "gw-shop-b is cut off: b-1 and cloud-1 do not hear each other",
				"from b-1, does UDP to 203.0.113.11:4500 get through? Firewalls and security groups must let it")
			w.service("till", []string{"a-1", "cloud-1"}, topologyKeys, byPool) // its pod of shop-b is not ready
			w.problem("node-not-ready", "node b-1", "is not Ready for 9m: Kubelet stopped posting node status.", "kubectl describe node b-1")
			w.Tunnel.Problems = []sessions.Problem{{Code: "tunnel-down", Subject: "node b-1", Text: "it has no session", Do: "look"}}
			w.Agents[3], w.Proxies[3] = pod("magpie-agent-b-1", "b-1", "False"), pod("kube-proxy-b-1", "b-1", "False")
		},
		// The agent of a gateway is gone: its link is down because of that, and
		// another site's is blocked for its own reason.
		"agent-gone": func(w *world) {
			w.Agents = append(w.Agents[:1], w.Agents[2:]...)
			w.Status.Links[0].State, w.Status.Links[1].State = status.Down, status.Down
			w.problem("link-down", "link a-1 to cloud-1", "gw-shop-a is cut off", "look")
			w.problem("no-gateway", "domain gw-shop-a", "no gateway of it is active", "look")
			w.Status.Gateways = []status.Gateway{{Node: "a-1", Domain: "gw-shop-a"}}
			w.problem("link-blocked", "link b-1 to cloud-1", "gw-shop-b is cut off: b-1 and cloud-1 have not heard each other since their agents started",
				"from b-1, does UDP to 203.0.113.11:4500 get through? Firewalls and security groups must let it")
		},
		// The active gateway's machine is off and nobody replaces it: that is
		// why the site is cut off.
		"gateway-stuck": func(w *world) {
			off := now.Add(-20 * time.Minute)
			w.Status.Nodes[1].Ready, w.Status.Nodes[1].NotReadySince = false, &off
			w.Status.Gateways = []status.Gateway{
				{Node: "a-1", Domain: "gw-shop-a", Active: true, Key: true}, {Node: "a-2", Domain: "gw-shop-a", Ready: true, Key: true},
			}
			w.Status.Links[0].State, w.Status.Links[0].LastHeard = status.Down, &off
			w.problem("link-down", "link a-1 to cloud-1", "gw-shop-a is cut off", "look")
			w.problem("node-not-ready", "node a-1", "is not Ready", "look")
		},
		// Annotations are in use, the agents serve a hub, and kube-proxy was
		// written anew by an upgrade of the cluster.
		"hub-unread": func(w *world) {
			w.Services.Readers[0].Hub = false
			w.service("till", []string{"a-1", "b-1", "cloud-1"}, topologyKeys, byPool)
			w.service("web", nil, listen, "shop-a")
		},
		// The hub is there, nobody reads through it, and nobody needs it.
		"hub-unasked": func(w *world) {
			w.Services.Readers[0].Hub, w.Services.Readers[1].Hub = false, false
			w.service("plain", nil, listen, "shop-a").Spec.Ports[0].NodePort = 0
		},
		"hub-off": func(w *world) {
			w.Services.Served = false
			w.Services.Readers[0].Hub, w.Services.Readers[1].Hub = false, false
			for _, name := range []string{"till", "shelf", "scale", "web", "api"} {
				w.service(name, []string{"a-1", "b-1", "cloud-1"}, topologyKeys, "kubernetes.io/zone")
			}
		},
		// NodePorts are closed in nftables, so only the pinned Service lacks a hub.
		"hub-off-fenced": func(w *world) {
			w.Services.Served, w.Services.Fenced = false, true
			w.Services.Readers[0].Hub, w.Services.Readers[1].Hub = false, false
			w.service("web", nil, listen, "shop-a")
			w.service("till", []string{"a-1", "b-1", "cloud-1"}, topologyKeys, byPool)
		},
		// The chart's value was taken back before magpiectl hub disable.
		"hub-gone": func(w *world) {
			w.Services.Served, w.Services.Readers[1].Hub = false, false
			w.service("till", []string{"a-1", "b-1", "cloud-1"}, topologyKeys, byPool)
		},
		// Annotations that say nothing, name nobody, or leave somebody out, and a
		// kube-proxy of another make.
		"annotations": func(w *world) {
			w.Services.Readers, w.Services.Unclear = w.Services.Readers[1:], "DaemonSet kube-system/kube-proxy: it mounts no ConfigMap with the key kubeconfig.conf"
			w.Services.Pools = append(w.Services.Pools, "kiosk", "depot")
			w.service("till", []string{"a-1", "a-2"}, topologyKeys, byPool)
			w.service("scale", []string{}, topologyKeys, "kubernetes.io/hostname")
			w.service("lost", nil, topologyKeys, "openyurt.io/nodepool,kubernetes.io/zone")
			w.service("web", nil, listen, "shop-a, -shopb, kiosk, *")
			w.service("api", nil, listen, "shopb,shopb")
			w.service("far", nil, topologyKeys, byPool).Spec.Type = corev1.ServiceTypeExternalName
		},
		"everything": func(w *world) {
			none := 0
			w.Lease.Renewed, w.DNS, w.MTU = now.Add(-2*time.Hour), &none, 1450
			w.Reports[1].Status = v1alpha1.LinkReportStatus{
				Agent: "v0.2.0",
				Conditions: []v1alpha1.AgentCondition{{
					Code: "loop-failing", Subject: "loop vxlan", Severity: "error", Since: metav1.NewTime(now.Add(-40 * time.Minute)),
					Detail: "add route 10.42.1.0/24: no buffer space available",
				}, {
					Code: "hub-stale", Severity: "warning", Since: metav1.NewTime(now.Add(-20 * time.Minute)), Detail: "services as of 2026-11-22T11:39:00Z",
				}, {
					Code: "hub-down", Severity: "error", Since: metav1.NewTime(now.Add(-3 * time.Minute)), Detail: "address already in use",
				}, {Code: "foreign-writer", Subject: "loop cni", Severity: "warning", Since: metav1.NewTime(now.Add(-time.Minute)), Detail: "see the agent's log"}},
				Notes: []v1alpha1.AgentNote{{Code: "mtu-clamped", Subject: "node a-1", Text: "asked for 9000, the underlay carries 1450"}},
			}
			w.ServiceRanges = []netip.Prefix{netip.MustParsePrefix("10.42.128.0/17")}
			w.Addresses["b-1"] = []netip.Addr{netip.MustParseAddr("10.42.7.9")}
			w.Proxies[2] = pod("kube-proxy-a-2", "a-2", "False")
			w.Proxies[2].Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
				Reason: "CrashLoopBackOff", Message: "back-off 5m0s restarting failed container",
			}}}}
			w.Notes = []plan.Note{
				{Code: "cidr-overlap", Subject: "node b-1", Text: "its pod CIDR 10.42.1.0/24 overlaps that of node cloud-1"},
				{Code: "links-off", Subject: "links", Text: "ConfigMap kube-system/raven-cfg says so"},
				{Code: "a-code-of-tomorrow", Subject: "node b-1", Text: "something is left out"},
			}
			w.Tunnel = &sessions.Report{
				Problems: []sessions.Problem{
					{Code: "tunnel-gateway-idle", Subject: "gateway magpie-system/magpie-gateway-1", Text: "it has no session, while others have", Do: "let agents reach it"},
					{Code: "tunnel-certificate", Subject: "node b-1", Text: "its certificate ends in 2h", Do: "kubectl get csr"},
					{Code: "tunnel-down", Subject: "node b-1", Text: "it has no session with any instance of the gateway", Do: "look"},
				},
				Notes: []sessions.Problem{{Code: "tunnel-refusals", Subject: "gateway magpie-system/magpie-gateway-2", Text: "refused since it started: forbidden 5", Do: "kubectl logs"}},
			}
			w.problem("node-not-ready", "node a-2", "is not Ready for 3h (since 2026-11-22T09:00:00Z): container runtime is down", "kubectl describe node a-2")
			w.Status.Nodes[2].Ready = false
		},
	}
}

func TestText(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		w := world{well()}
		worlds()[c.Name](&w)
		r := doctor.Examine(w.Patient, now, doctor.Checks()...)
		text := doctor.Text(r, false)
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

// TestEveryFindingIsComplete holds the promises of the package comment.
func TestEveryFindingIsComplete(t *testing.T) {
	codes := map[string]bool{}
	for name, spoil := range worlds() {
		w := world{well()}
		spoil(&w)
		r := doctor.Examine(w.Patient, now, doctor.Checks()...)
		worst := 0
		for _, f := range r.Findings {
			codes[f.Code] = true
			if f.Code == "" || f.Subject == "" || f.Text == "" || f.Why == "" || f.Do == "" {
				t.Errorf("%s: %+v", name, f)
			}
			if _, err := os.Stat("../../../" + f.Runbook); err != nil && f.Code != "a-code-of-tomorrow" {
				t.Errorf("%s: %v", name, err)
			}
			rank := map[string]int{"error": 0, "warning": 1, "info": 2}[f.Severity]
			if rank < worst {
				t.Errorf("%s: %s stands after something milder", name, f.Code)
			}
			worst = rank
			if f.Severity == "error" && r.OK {
				t.Errorf("%s: ok with an error", name)
			}
		}
	}
	if len(codes) < 14 {
		t.Errorf("only %d codes in all the worlds: they are not wrong enough", len(codes))
	}
}
