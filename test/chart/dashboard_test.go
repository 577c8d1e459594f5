// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"encoding/json"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestDashboard: it is rendered where it is asked for, whole, with the label
// that Grafana's sidecar looks for; internal/arch looks at what is in it.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/dashboards/magpie.json")
	if err != nil {
		t.Fatal(err)
	}
	find := func(args ...string) *unstructured.Unstructured {
		t.Helper()
		for _, u := range objects(t, render(t, append([]string{"--values", labValues}, args...)...)) {
			if name(u) == "ConfigMap/magpie-dashboard" {
				return u
			}
		}
		return nil
	}
	if find() != nil {
		t.Error("it is there unasked")
	}
	u := find("--set", "dashboards.enabled=true", "--set", "dashboards.labels.team=net", "--set", "dashboards.annotations.grafana_folder=Network")
	if u == nil {
		t.Fatal("it is not rendered")
	}
	if l := u.GetLabels(); l["grafana_dashboard"] != "1" || l["team"] != "net" || l["app.kubernetes.io/part-of"] == "" && l["app.kubernetes.io/name"] == "" {
		t.Errorf("labels %v", l)
	}
	if u.GetAnnotations()["grafana_folder"] != "Network" || u.GetNamespace() != namespace {
		t.Errorf("%s, %v", u.GetNamespace(), u.GetAnnotations())
	}
	data, _, err := unstructured.NestedStringMap(u.Object, "data")
	if err != nil || data["magpie.json"] != string(text) {
		t.Errorf("it is not the file: %v", err)
	}
	if !json.Valid([]byte(data["magpie.json"])) {
		t.Error("it is not JSON")
	}
}
