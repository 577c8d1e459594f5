// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/magpie-edge/magpie/test/apiserver"
)

// TestUpgradeCRDs is what the chart's hook does, with no more than the hook may
// do: an old definition of ours is brought up to date, one that is missing is
// installed, and one of OpenYurt's is left alone.
func TestUpgradeCRDs(t *testing.T) {
	admin := install(t)
	ctx := t.Context()
	crds := apiserver.Dynamic(server.Config).Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	})
	const reports, pools, slices, gateways = "linkreports.net.magpie.dev", "nodepools.apps.openyurt.io",
		"domainslices.net.magpie.dev", "gateways.raven.openyurt.io"
	column := `[{"op":"remove","path":"/spec/versions/0/additionalPrinterColumns/0"}]`
	patch := func(ctx context.Context, name, text string) {
		t.Helper()
		if _, err := crds.Patch(ctx, name, types.JSONPatchType, []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	spec := func(name string) any {
		t.Helper()
		u, err := crds.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return u.Object["spec"]
	}
	ours := spec(reports)
	patch(ctx, reports, `[{"op":"remove","path":"/metadata/labels"},`+column[1:]) // of our own group all are ours
	patch(ctx, pools, `[{"op":"remove","path":"/metadata/labels"},`+column[1:])
	foreign := spec(pools)
	if err := crds.Delete(ctx, slices, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := crds.Get(ctx, slices, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the definition does not go")
		}
	}
	t.Cleanup(func() { // other tests use them
		ctx := context.Background() // the test's has ended
		patch(ctx, pools, `[{"op":"add","path":"/metadata/labels","value":{"app.kubernetes.io/part-of":"magpie"}}]`)
		if err := server.InstallCRDs(ctx); err != nil {
			t.Error(err)
		}
	})

	binary, hook := magpiectl(t), asPod(t, admin, "magpie-crds", "c-1")
	for i, want := range []string{
		pools + ": left as it is, it is not ours: it has no label app.kubernetes.io/part-of\n" +
			slices + ": installed\n" + reports + ": upgraded\n" + gateways + ": up to date\n",
		pools + ": left as it is, it is not ours: it has no label app.kubernetes.io/part-of\n" +
			slices + ": up to date\n" + reports + ": up to date\n" + gateways + ": up to date\n",
	} {
		out, err := as(t, binary, hook, "hook", "crds").CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("run %d: %v\n%s\nwant:\n%s", i+1, err, out, want)
		}
	}
	if d := cmp.Diff(map[string]any{reports: ours, pools: foreign}, map[string]any{reports: spec(reports), pools: spec(pools)}); d != "" {
		t.Errorf("definitions (-want +got):\n%s", d)
	}
}
