// SPDX-License-Identifier: Apache-2.0

package rewire

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/hub/client"
)

// KubeconfigKey is the key of kube-proxy's ConfigMap that says where the API
// server is. Source: kubeadm, phases/addons/proxy; ACK has the same.
const KubeconfigKey = "kubeconfig.conf"

const proxyContainer = "kube-proxy"

// ErrNoKubeconfig says that kube-proxy is configured in a way that is not known
// here.
var ErrNoKubeconfig = errors.New("it mounts no ConfigMap with the key " + KubeconfigKey)

// ProxyConfig returns the name of the ConfigMap that a DaemonSet of kube-proxy
// mounts, as it was before ProxyOn; the first for which has is true.
func ProxyConfig(ds *unstructured.Unstructured, has func(name string) bool) (string, error) {
	plain, _, err := ProxyOff(ds)
	if err != nil {
		return "", err
	}
	w := workload{plain}
	name, err := w.mounted(has)
	if err == nil && name == "" {
		err = fmt.Errorf("%s: %w", w.name(), ErrNoKubeconfig)
	}
	return name, err
}

// ProxyOwn is the name of the ConfigMap that ProxyOn makes.
func ProxyOwn(ds *unstructured.Unstructured) string { return ds.GetName() + "-hub" }

// ProxyOn returns the DaemonSet that reads through the hub, and the ConfigMap
// that it needs. cm is the one that ProxyConfig names, folder the node's that
// holds what hub/client writes.
func ProxyOn(ds *unstructured.Unstructured, cm *corev1.ConfigMap, folder string) (*unstructured.Unstructured, *corev1.ConfigMap, error) {
	out, _, err := ProxyOff(ds)
	if err != nil {
		return nil, nil, err
	}
	w := workload{out}
	kubeconfig, err := Kubeconfig(cm.Data[KubeconfigKey], client.URL(api.HubLoopback), client.Mount+"/"+client.FileCA)
	if err != nil {
		return nil, nil, fmt.Errorf("ConfigMap %s/%s, %s: %w", cm.Namespace, cm.Name, KubeconfigKey, err)
	}
	own := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ds.GetNamespace(), Name: ProxyOwn(ds),
			Labels: map[string]string{"app.kubernetes.io/managed-by": "magpiectl", "app.kubernetes.io/part-of": "magpie"},
		},
		Data: map[string]string{KubeconfigKey: kubeconfig},
	}
	volumes, err := w.list("volumes")
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(volumes, func(v any) bool {
		m, _ := v.(map[string]any)
		return text(m["configMap"], "name") == cm.Name
	})
	if i < 0 {
		return nil, nil, fmt.Errorf("%s: %w", w.name(), ErrNoKubeconfig)
	}
	was, err := json.Marshal(volumes[i])
	if err != nil {
		return nil, nil, fmt.Errorf("encode volume of %s: %w", w.name(), err)
	}
	volume, _ := volumes[i].(map[string]any)
	volumes[i] = projected(volume, cm, own.Name)
	if err := w.set("volumes", volumes); err != nil {
		return nil, nil, err
	}
	annotations := out.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[api.AnnotationHubWas] = string(was)
	out.SetAnnotations(annotations)
	return out, own, w.mount(proxyContainer, folder, mustBe)
}

// projected is the volume of the ConfigMap with one file out of another.
func projected(volume map[string]any, cm *corev1.ConfigMap, own string) map[string]any {
	source, _ := volume["configMap"].(map[string]any)
	items, _ := source["items"].([]any)
	if len(items) == 0 { // all keys, each under its name
		for _, key := range slices.Sorted(maps.Keys(cm.Data)) {
			items = append(items, map[string]any{"key": key, "path": key})
		}
	}
	var theirs, ours []any
	for _, item := range items {
		if text(item, "key") == KubeconfigKey {
			ours = append(ours, item)
		} else {
			theirs = append(theirs, item)
		}
	}
	both := map[string]any{"sources": []any{
		map[string]any{"configMap": map[string]any{"name": cm.Name, "items": theirs}},
		map[string]any{"configMap": map[string]any{"name": own, "items": ours}},
	}}
	if mode, ok := source["defaultMode"]; ok {
		both["defaultMode"] = mode
	}
	return map[string]any{"name": volume["name"], "projected": both}
}

// ProxyOff returns the DaemonSet as it was before ProxyOn, and whether it was
// pointed at the hub.
func ProxyOff(ds *unstructured.Unstructured) (*unstructured.Unstructured, bool, error) {
	out := ds.DeepCopy()
	w := workload{out}
	mounted, err := w.unmount()
	if err != nil {
		return nil, false, err
	}
	annotations := out.GetAnnotations()
	was, pointed := annotations[api.AnnotationHubWas]
	if !pointed {
		return out, mounted, nil
	}
	var volume map[string]any
	if err := json.Unmarshal([]byte(was), &volume); err != nil {
		return nil, false, fmt.Errorf("read annotation %s of %s: %w", api.AnnotationHubWas, w.name(), err)
	}
	delete(annotations, api.AnnotationHubWas)
	if len(annotations) == 0 {
		annotations = nil
	}
	out.SetAnnotations(annotations)
	volumes, err := w.list("volumes")
	if err != nil {
		return nil, false, err
	}
	if i := named(volumes, text(volume, "name")); i >= 0 {
		volumes[i] = volume
	}
	return out, true, w.set("volumes", volumes)
}
