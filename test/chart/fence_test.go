// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"testing"
)

// TestFenceRights: a fence in nftables lets the agent follow Services, and
// nothing else of what a hub would read.
func TestFenceRights(t *testing.T) {
	admin := install(t)
	if err := server.ApplyYAML(t.Context(), render(t, "--values", labValues, "--set", "fence=nftables")); err != nil {
		t.Fatal(err)
	}
	without := render(t, "--values", labValues)
	t.Cleanup(func() { _ = server.ApplyYAML(context.Background(), without) }) // the server goes, too
	checkRights(t, clientset(t, asPod(t, admin, "magpie-agent", "c-1")), "magpie-agent", []right{
		{"list", ":services", "", "", "magpie-agent"},
		{"watch", ":services", "", "", "magpie-agent"},
		{"patch", ":services", "default", "x", ""},
		{"watch", ":endpoints", "", "", ""},
		{"list", "discovery.k8s.io:endpointslices", "", "", ""},
		{"create", "authentication.k8s.io:tokenreviews", "", "", ""},
	})
}
