// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/cmd/magpiectl/service"
)

// TestService: the command asks for one Service and its own slices, takes pools
// from labels where there are no NodePools, and says that no hub is on.
func TestService(t *testing.T) {
	asked := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/api/v1/namespaces/shop/services/web"):
			fmt.Fprint(w, `{"kind":"Service","apiVersion":"v1","metadata":{"namespace":"shop","name":"web",
				"annotations":{"openyurt.io/topologyKeys":"openyurt.io/nodepool"}},"spec":{"clusterIP":"10.96.0.7"}}`)
		case strings.HasSuffix(r.URL.Path, "/namespaces/shop/endpointslices"):
			asked = r.URL.Query().Get("labelSelector")
			fmt.Fprint(w, `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{},
				"items":[{"metadata":{"name":"web-1"},"addressType":"IPv4","endpoints":[{"addresses":["10.42.1.5"],"nodeName":"a-1"}]}]}`)
		case strings.HasSuffix(r.URL.Path, "/api/v1/nodes"):
			fmt.Fprint(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{},"items":[
				{"metadata":{"name":"a-1","labels":{"apps.openyurt.io/nodepool":"shop-a"}}},{"metadata":{"name":"b-1"}}]}`)
		case strings.HasSuffix(r.URL.Path, "/api/v1/configmaps"):
			fmt.Fprint(w, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"magpie-agent"},
				"data":{"agent.yaml":"fence: nftables\n"}}]}`)
		case strings.Contains(r.URL.Path, "/nodepools"):
			http.NotFound(w, r)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":404,"reason":"NotFound","message":"services \"x\" not found"}`)
		}
	}))
	defer s.Close()
	config := kubeconfig(t, s.URL)
	stdout, stderr, status := call(t, "service", "shop/web", "-o", "json", "--kubeconfig", config)
	var r service.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != 0 {
		t.Fatalf("exit %d, %v: %s%s", status, err, stdout, stderr)
	}
	if asked != "kubernetes.io/service-name=web" {
		t.Errorf("asked for slices with %q", asked)
	}
	if r.Fence.By != service.FenceNFTables {
		t.Errorf("the fence is said to be by %s", r.Fence.By)
	}
	if r.Hub.On || !strings.Contains(r.Hub.Why, "no kube-proxy") || r.Pin.Reach != "pool" || len(r.Pools) != 2 || r.Nodes[0].Ready != 1 || r.Nodes[1].Ready != 0 {
		t.Errorf("%+v", r)
	}
	if _, stderr, status := call(t, "service", "nope", "--kubeconfig", config); status != exitNoAnswer || !strings.Contains(stderr, "namespace default has no Service nope") {
		t.Errorf("exit %d: %s", status, stderr)
	}
}
