// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
)

// FuzzGivenTo: whatever stands in the records, nothing counts as given that is
// not on the node, and the cut-down managedFields say what the whole says.
func FuzzGivenTo(f *testing.F) {
	const fields = `{"f:metadata":{"f:labels":{".":{},"f:tier":{},"f:shop":{}}}}`
	for _, s := range [][3]string{
		{`{"labels":{"tier":"silver"}}`, `{"given":{"labels":{"tier":"gold","shop":"a"}},"own":{"labels":{"tier":"x"}}}`, fields},
		{`{"labels":{"tier":"gold"},"taints":[{"key":"dry","effect":"NoExecute"}]}`, "", ""},
		{"{", `{"given":{"taints":[{"key":"dry","effect":"NoExecute"},null]}}`, "["},
		{"null", "null", "null"},
		{"", `{"given":[]}`, `{"f:metadata":{"f:labels":null}}`},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, theirs, ours, managed string) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{"tier": "gold", "shop": "a", "rack": "7"},
			Annotations: map[string]string{api.AnnotationPrevious: theirs},
		}}
		if ours != "" {
			n.Annotations[api.AnnotationPoolRecord] = ours
		}
		n.Spec.Taints = []corev1.Taint{{Key: "dry", Effect: corev1.TaintEffectNoExecute}}
		fields := &metav1.FieldsV1{}
		fields.SetRawBytes([]byte(managed))
		n.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "files", FieldsV1: fields}}
		r, err := fleet.GivenTo(n)
		if err != nil && (len(r.Given.Labels) > 0 || len(r.Given.Annotations) > 0 || len(r.Given.Taints) > 0) {
			t.Errorf("a record that cannot be read gives %v", r.Given)
		}
		for k, v := range r.Given.Labels {
			if n.Labels[k] != v {
				t.Errorf("label %s=%s is given, and the node has %q", k, v, n.Labels[k])
			}
		}
		for k := range r.Own.Labels {
			if _, given := r.Given.Labels[k]; !given {
				t.Errorf("%s is hidden by nothing", k)
			}
		}
		for _, x := range r.Given.Taints {
			if !fleet.SameTaint(x, n.Spec.Taints[0]) {
				t.Errorf("taint %v is given and not there", x)
			}
		}
		n.ManagedFields = fleet.Claims(n)
		if again, err2 := fleet.GivenTo(n); (err == nil) != (err2 == nil) || !cmp.Equal(r, again) {
			t.Errorf("with the claims only: %s", cmp.Diff(r, again))
		}
	})
}
