// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"testing"
)

// TestHubRights: what the hub adds to the agent's rights, and what the chart's
// own pod may do before an uninstall.
func TestHubRights(t *testing.T) {
	admin := install(t)
	if err := server.ApplyYAML(t.Context(), render(t, "--values", labValues, "--set", "hub.enabled=true")); err != nil {
		t.Fatal(err)
	}
	without := render(t, "--values", labValues)
	t.Cleanup(func() { _ = server.ApplyYAML(context.Background(), without) }) // the server goes, too
	for _, account := range []string{"magpie-agent", "magpie-unhub"} {
		checkRights(t, clientset(t, asPod(t, admin, account, "c-1")), account, hubRights)
	}
}

var hubRights = []right{
	{"watch", ":services", "", "", "magpie-agent"},
	{"watch", ":endpoints", "", "", "magpie-agent"},
	{"list", ":namespaces", "", "", "magpie-agent"},
	{"list", "discovery.k8s.io:endpointslices", "", "", "magpie-agent"},
	{"patch", ":services", "default", "x", ""},
	{"create", "discovery.k8s.io:endpointslices", "default", "", ""},
	{"create", "authentication.k8s.io:tokenreviews", "", "", "magpie-agent"},
	{"create", "authorization.k8s.io:subjectaccessreviews", "", "", "magpie-agent"},
	{"create", ":events", "default", "", "magpie-agent"},
	{"delete", ":events", "default", "x", ""},
	{"get", ":secrets", "default", "x", ""},
	{"get", ":configmaps", "kube-system", "coredns", "magpie-unhub"},
	{"update", ":configmaps", "kube-system", "coredns", "magpie-unhub"},
	{"update", ":configmaps", "kube-system", "kube-proxy", ""},
	{"delete", ":configmaps", "kube-system", "kube-proxy-hub", "magpie-unhub"},
	{"delete", ":configmaps", "kube-system", "coredns", ""},
	{"update", "apps:daemonsets", "kube-system", "kube-proxy", "magpie-unhub"},
	{"update", "apps:daemonsets", "kube-system", "kube-proxy-worker", "magpie-unhub"},
	{"update", "apps:daemonsets", "kube-system", "coredns", "magpie-unhub"},
	{"update", "apps:daemonsets", "kube-system", "other", ""},
	{"update", "apps:deployments", "kube-system", "coredns", "magpie-unhub"},
	{"create", ":pods", "kube-system", "", ""},
}
