// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"

	"github.com/magpie-edge/magpie/api/crd"
	"github.com/magpie-edge/magpie/test/apiserver"
)

// TestValidation has one case for each rule that the originals check in a
// webhook: refuse is a part of the API server's answer, "" means accepted.
func TestValidation(t *testing.T) {
	const gw = "apiVersion: raven.openyurt.io/v1beta1\nkind: Gateway\nmetadata: {name: x}\n"
	const np = "apiVersion: apps.openyurt.io/v1beta2\nkind: NodePool\nmetadata: {name: x}\n"
	for name, c := range map[string]struct{ yaml, refuse string }{
		"gateway empty":          {gw + "spec: {}", ""},
		"gateway as documented":  {gw + "spec: {exposeType: PublicIP, proxyConfig: {Replicas: 1, proxyHTTPPort: '10255,9445', proxyHTTPSPort: '10250,9100'}, tunnelConfig: {Replicas: 1}, endpoints: [{nodeName: a, type: proxy, port: 10262, publicIP: 203.0.113.7}, {nodeName: a, type: tunnel, port: 4500, publicIP: '2001:db8::7', config: {publicKey: x}, natType: 'NAT', publicPort: 40000}]}", ""},
		"gateway under NAT":      {gw + "spec: {tunnelConfig: {Replicas: 1}, endpoints: [{nodeName: a, type: tunnel, underNAT: true}, {nodeName: b, type: tunnel, underNAT: true}]}", ""},
		"tunnel replicas":        {gw + "spec: {tunnelConfig: {Replicas: 2}}", "tunnelConfig.Replicas"},
		"proxy replicas":         {gw + "spec: {proxyConfig: {Replicas: 2}, endpoints: [{nodeName: a, type: proxy}, {nodeName: b, type: tunnel}]}", "number of proxy endpoints"},
		"proxy without any":      {gw + "spec: {proxyConfig: {Replicas: 1}}", "number of proxy endpoints"},
		"mixed underNAT":         {gw + "spec: {endpoints: [{nodeName: a, type: tunnel, underNAT: true}, {nodeName: b, type: tunnel}]}", "same underNAT"},
		"exposed under NAT":      {gw + "spec: {exposeType: LoadBalancer, endpoints: [{nodeName: a, type: tunnel, underNAT: true}]}", "exposeType can be set only"},
		"strange exposeType":     {gw + "spec: {exposeType: NodePort}", "exposeType"},
		"node without a name":    {gw + "spec: {endpoints: [{nodeName: '', type: tunnel}]}", "nodeName"},
		"strange endpoint type":  {gw + "spec: {endpoints: [{nodeName: a, type: relay}]}", "type"},
		"endpoint without type":  {gw + "spec: {endpoints: [{nodeName: a}]}", "type"},
		"publicIP is a name":     {gw + "spec: {endpoints: [{nodeName: a, type: tunnel, publicIP: edge.example.com}]}", "publicIP"},
		"publicIP out of range":  {gw + "spec: {endpoints: [{nodeName: a, type: tunnel, publicIP: 203.0.113.300}]}", "publicIP"},
		"publicIP with a port":   {gw + "spec: {endpoints: [{nodeName: a, type: tunnel, publicIP: '203.0.113.3:4500'}]}", "publicIP"},
		"port too large":         {gw + "spec: {endpoints: [{nodeName: a, type: tunnel, port: 65536}]}", "port"},
		"old gateway":            {strings.Replace(gw, "v1beta1", "v1alpha1", 1) + "spec: {endpoints: [{nodeName: a, publicIP: 203.0.113.7}]}", ""},
		"pool without a type":    {np + "spec: {}", ""},
		"pool without a spec":    {np, ""},
		"pool as documented":     {np + "spec: {type: Edge, hostNetwork: true, interConnectivity: true, labels: {a: b}, annotations: {a: b}, taints: [{key: a, value: b, effect: NoSchedule}], enableLeaderElection: true, leaderElectionStrategy: mark, leaderNodeLabelSelector: {a: b}, leaderReplicas: 2, poolScopeMetadata: [{group: '', version: v1, resource: services}]}", ""},
		"strange pool type":      {np + "spec: {type: Fog}", "type"},
		"pool gives its label":   {np + "spec: {labels: {apps.openyurt.io/nodepool: other}}", "which node or pool it is"},
		"pool gives a host name": {strings.Replace(np, "v1beta2", "v1beta1", 1) + "spec: {labels: {kubernetes.io/hostname: other}}", "which node or pool it is"},
		"hostNetwork in cloud":   {np + "spec: {type: Cloud, hostNetwork: true}", "cannot be hostNetwork"},
		"mark without selector":  {np + "spec: {leaderElectionStrategy: mark}", "leaderNodeLabelSelector"},
		"old pool":               {strings.Replace(np, "v1beta2", "v1beta1", 1) + "spec: {type: Cloud}", ""},
		"old hostNetwork, cloud": {strings.Replace(np, "v1beta2", "v1beta1", 1) + "spec: {type: Cloud, hostNetwork: true}", "cannot be hostNetwork"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, create(t, c.yaml), c.refuse)
		})
	}
}

// TestImmutable has one case for each field that must not change.
func TestImmutable(t *testing.T) {
	empty(t)
	const np = "apiVersion: apps.openyurt.io/v1beta2\nkind: NodePool\nmetadata: {name: fixed}\n"
	if err := server.ApplyYAML(t.Context(), np+"spec: {type: Edge, interConnectivity: true}"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ spec, refuse string }{
		"type":              {"{type: Cloud, interConnectivity: true}", "type is immutable"},
		"hostNetwork":       {"{type: Edge, interConnectivity: true, hostNetwork: true}", "hostNetwork is immutable"},
		"interConnectivity": {"{type: Edge, interConnectivity: false}", "interConnectivity is immutable"},
		"left out":          {"{type: Edge}", "interConnectivity is immutable"},
		"labels":            {"{type: Edge, interConnectivity: true, labels: {a: b}}", ""},
		"false and absent":  {"{type: Edge, interConnectivity: true, hostNetwork: false}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, server.ApplyYAML(t.Context(), np+"spec: "+c.spec), c.refuse)
		})
	}
}

// TestOlderVersionLosesNothing writes through an older version and reads what
// only the newer knows: relabelling instead of converting must not prune.
func TestOlderVersionLosesNothing(t *testing.T) {
	empty(t)
	ctx := t.Context()
	err := server.ApplyYAML(ctx, `
apiVersion: apps.openyurt.io/v1beta2
kind: NodePool
metadata: {name: x}
spec: {interConnectivity: true, leaderReplicas: 3}
---
apiVersion: raven.openyurt.io/v1beta1
kind: Gateway
metadata: {name: x}
spec: {tunnelConfig: {Replicas: 1}, proxyConfig: {Replicas: 0}, endpoints: [{nodeName: a, type: tunnel, port: 4501}]}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []struct{ now, version string }{{"nodepools", "v1beta1"}, {"gateways", "v1alpha1"}} {
		newer := pools
		if old.now == "gateways" {
			newer = gateways
		}
		before, err := get(newer, "x")
		if err != nil {
			t.Fatal(err)
		}
		older := newer
		older.Version = old.version
		u, err := get(older, "x")
		if err != nil {
			t.Fatal(err)
		}
		u.SetLabels(map[string]string{"touched": "yes"})
		if _, err := dyn().Resource(older).Update(ctx, u, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("update %s by %s: %v", old.now, old.version, err)
		}
		after, err := get(newer, "x")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before.Object["spec"], after.Object["spec"]); d != "" {
			t.Errorf("%s changed by a write through %s (-before +after):\n%s", old.now, old.version, d)
		}
		if after.GetLabels()["touched"] != "yes" {
			t.Errorf("%s: the write through %s is lost", old.now, old.version)
		}
	}
}

// TestChartHasTheCRDs compares the chart's copy, which Helm reads.
func TestChartHasTheCRDs(t *testing.T) {
	entries, err := crd.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		want, err := crd.Files.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join("..", "charts", "magpie", "crds", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(have)); d != "" {
			t.Errorf("%s differs, run go generate ./api/crd (-api +chart):\n%s", e.Name(), d)
		}
	}
}

func create(t *testing.T, yaml string) error {
	t.Helper()
	u, err := apiserver.Parse(yaml)
	if err != nil {
		t.Fatal(err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := apiserver.Resource(disco, u)
	if err != nil {
		t.Fatal(err)
	}
	opts := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: "Strict"}
	_, err = dyn().Resource(r).Create(t.Context(), &unstructured.Unstructured{Object: u.Object}, opts)
	return err
}

func expect(t *testing.T, err error, refuse string) {
	t.Helper()
	switch {
	case refuse == "" && err != nil:
		t.Errorf("refused: %v", err)
	case refuse != "" && err == nil:
		t.Errorf("accepted, want a refusal that names %q", refuse)
	case refuse != "" && !strings.Contains(err.Error(), refuse):
		t.Errorf("refused, but not because of %q: %v", refuse, err)
	}
}
