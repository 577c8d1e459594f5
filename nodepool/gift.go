// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/magpie-edge/magpie/api"
	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// giftOf reads what a pool gives its nodes. What the API server would refuse on
// a Node is left out, or one word would keep the others from all nodes of the
// pool; and so is what is not a pool's to give.
func giftOf(pool *appsv1beta2.NodePool) (gift, []plan.Note, error) {
	var notes []plan.Note
	subject := "pool " + pool.Name
	refuse := func(format string, args ...any) {
		notes = append(notes, plan.Note{Subject: subject, Code: NotePoolRefused, Text: fmt.Sprintf(format, args...)})
	}
	g := gift{
		pool:  pool.Name,
		fixed: map[string]string{api.LabelPoolType: strings.ToLower(typeOf(pool))},
		Attributes: fleet.Attributes{
			Labels: map[string]string{}, Annotations: map[string]string{},
		},
	}
	if pool.Spec.HostNetwork {
		g.fixed[api.LabelHostNetwork] = "true"
	}
	for _, k := range slices.Sorted(maps.Keys(pool.Spec.Labels)) {
		if why := badLabel(k, pool.Spec.Labels[k]); why != "" {
			refuse("label %s=%s is given to no node: %s", k, pool.Spec.Labels[k], why)
			continue
		}
		g.Labels[k] = pool.Spec.Labels[k]
	}
	for _, k := range slices.Sorted(maps.Keys(pool.Spec.Annotations)) {
		if why := badAnnotation(k); why != "" {
			refuse("annotation %s is given to no node: %s", k, why)
			continue
		}
		g.Annotations[k] = pool.Spec.Annotations[k]
	}
	for _, t := range pool.Spec.Taints {
		why := badTaint(t)
		if slices.ContainsFunc(g.Taints, func(x corev1.Taint) bool { return x.Key == t.Key && x.Effect == t.Effect }) {
			why = "an earlier taint has the same key and effect"
		}
		if why != "" {
			refuse("taint %s is given to no node: %s", t.ToString(), why)
			continue
		}
		t.TimeAdded = nil // of the pool, not of the node
		g.Taints = append(g.Taints, t)
	}
	if pool.Spec.EnableLeaderElection {
		notes = append(notes, plan.Note{
			Subject: subject, Code: NotePoolLeaders,
			Text: "enableLeaderElection has no effect: leaders are of OpenYurt's hub, so none is elected and status.leaderNum stays empty",
		})
	}
	spec, err := json.Marshal(fleet.Attributes{Labels: pool.Spec.Labels, Annotations: pool.Spec.Annotations, Taints: pool.Spec.Taints})
	if err != nil {
		return gift{}, nil, fmt.Errorf("encode what pool %s gives: %w", pool.Name, err)
	}
	g.spec = string(spec)
	return g, notes, nil
}

// typeOf is the type of the pool; OpenYurt's default is Edge.
func typeOf(pool *appsv1beta2.NodePool) string {
	if pool.Spec.Type == appsv1beta2.Cloud {
		return appsv1beta2.Cloud
	}
	return appsv1beta2.Edge
}

// reserved are the labels that say which node or which pool it is.
var reserved = []string{
	api.LabelPool, api.LabelPoolACK, api.LabelPoolType, api.LabelHostNetwork,
	corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable,
}

// reservedTaints begin the keys of taints that Kubernetes sets and removes
// itself: a pool that gives one would fight with it.
var reservedTaints = []string{"node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"}

const notAPools = "it says what the node itself is, which a pool cannot"

func badLabel(key, value string) string {
	if slices.Contains(reserved, key) {
		return notAPools
	}
	return strings.Join(append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...), "; ")
}

func badAnnotation(key string) string {
	if key == api.AnnotationPrevious || key == api.AnnotationPoolRecord || strings.HasPrefix(key, api.FlannelPrefix) {
		return notAPools
	}
	return strings.Join(validation.IsQualifiedName(strings.ToLower(key)), "; ")
}

func badTaint(t corev1.Taint) string {
	if slices.ContainsFunc(reservedTaints, func(p string) bool { return strings.HasPrefix(t.Key, p) }) {
		return "Kubernetes itself sets and removes taints of that name"
	}
	why := append(validation.IsQualifiedName(t.Key), validation.IsValidLabelValue(t.Value)...)
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
	if !slices.Contains(effects, t.Effect) {
		why = append(why, fmt.Sprintf("its effect is none of %s", effects))
	}
	return strings.Join(why, "; ")
}
