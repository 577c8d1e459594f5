// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/cmd/magpiectl/sessions"
)

// sessionsReply is what magpie-gateway serves, its durations in nanoseconds.
const sessionsReply = `{"instance":"gw-1","version":"v0.1.0","instances":["gw-1","gw-2"],"draining":false,"sessions":[
 {"node":"a-1","uid":"u","remote":"198.51.100.7:40112","since":"2026-11-22T10:00:00Z","expires":"2026-11-23T10:00:00Z",
  "conns":2,"streams":3,"bytes":1024,"rtt":21500000,"answer":{"node":"a-1","version":"v0.1.0"}}],
 "peers":[{"node":"gw-2","remote":"10.42.2.9:10443","since":"2026-11-22T10:00:00Z","expires":"2026-11-23T10:00:00Z","conns":1}]}`

const metricsReply = `magpie_tunnel_certificate_expiry_timestamp_seconds 1.7954316e+09
magpie_tunnel_refusals_total{code="forbidden",op="http"} 2
`

// TestTunnels asks two instances by way of a server that passes on as an API
// server does: one answers, the other cannot be reached.
func TestTunnels(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("labelSelector"); got != sessions.Labels {
			t.Errorf("asked for pods with %q", got)
		}
		var list corev1.PodList
		list.Kind, list.APIVersion = "PodList", "v1"
		for _, name := range []string{"gw-1", "gw-2"} {
			list.Items = append(list.Items, corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "magpie-system"}, Spec: corev1.PodSpec{NodeName: "cloud-1"},
				Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
			})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	})
	proxy := "GET /api/v1/namespaces/magpie-system/pods/http:gw-1:10296/proxy/"
	mux.HandleFunc(proxy+"sessions", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, sessionsReply) })
	mux.HandleFunc(proxy+"metrics", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, metricsReply) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	k, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	fs := facts{
		nodes: []corev1.Node{readyNode("a-1"), readyNode("b-1"), readyNode("cloud-1")},
		slices: []v1alpha1.DomainSlice{
			{Spec: v1alpha1.DomainSliceSpec{Domain: "gw-cloud", Cloud: true, Tunnels: []string{"203.0.113.10:443"}, Nodes: []v1alpha1.SliceNode{{Name: "cloud-1"}}}},
			{Spec: v1alpha1.DomainSliceSpec{Domain: "gw-shop-a", Nodes: []v1alpha1.SliceNode{{Name: "a-1"}}}},
			{Spec: v1alpha1.DomainSliceSpec{Domain: "gw-shop-b", Nodes: []v1alpha1.SliceNode{{Name: "b-1"}}}},
		},
	}
	e := &env{now: func() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }}
	r, err := tunnels(t.Context(), e, k, fs)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	for _, p := range r.Problems {
		codes[p.Subject] = p.Code
	}
	if len(codes) != 2 || codes["node b-1"] != "tunnel-down" || codes["gateway magpie-system/gw-2"] != "tunnel-gateway-down" {
		t.Errorf("problems: %+v", r.Problems)
	}
	first := r.Instances[0]
	if first.Error != "" || first.Sessions != 1 || first.Streams != 3 || len(first.Peers) != 1 || first.Refused["forbidden"] != 2 ||
		first.CertificateUntil == nil || first.CertificateUntil.Format(time.RFC3339) != "2026-11-23T11:00:00Z" {
		t.Errorf("first instance: %+v", first)
	}
	for _, n := range r.Nodes {
		if n.Name == "a-1" && (len(n.Sessions) != 1 || n.Sessions[0].RTTMicros != 21500 || n.Agent != "v0.1.0") || n.Dials != (n.Name != "cloud-1") {
			t.Errorf("%+v", n)
		}
	}
	fs.raven = map[string]string{"enable-l7-proxy": "false"}
	if r, err := tunnels(t.Context(), e, k, fs); err != nil || r.Off == "" || !r.OK {
		t.Errorf("switched off: %+v, %v", r, err)
	}
}
