// SPDX-License-Identifier: Apache-2.0

package rewire

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/magpie-edge/magpie/hub/client"
)

// volumeName is that of the hub's folder in pods.
const volumeName = "magpie-hub"

// Types of the folder's volume.
const (
	mustBe = "Directory"         // a pod waits for it
	mayBe  = "DirectoryOrCreate" // a pod goes on without
)

// workload is a DaemonSet or a Deployment. Its fields are maps, so that what
// this program does not know stays as it is.
type workload struct {
	u *unstructured.Unstructured
}

func (w workload) name() string {
	return w.u.GetKind() + " " + w.u.GetNamespace() + "/" + w.u.GetName()
}

// list returns a list of the pod template, a copy.
func (w workload) list(field string) ([]any, error) {
	l, _, err := unstructured.NestedSlice(w.u.Object, "spec", "template", "spec", field)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", field, w.name(), err)
	}
	return l, nil
}

func (w workload) set(field string, l []any) error {
	if err := unstructured.SetNestedSlice(w.u.Object, l, "spec", "template", "spec", field); err != nil {
		return fmt.Errorf("set %s of %s: %w", field, w.name(), err)
	}
	return nil
}

// named returns the place of a named entry, -1 if there is none.
func named(l []any, name string) int {
	return slices.IndexFunc(l, func(e any) bool { return text(e, "name") == name })
}

func text(e any, field string) string {
	m, _ := e.(map[string]any)
	s, _ := m[field].(string)
	return s
}

// edit changes the first container.
func (w workload) edit(container string, how func(map[string]any) error) error {
	l, err := w.list("containers")
	if err != nil {
		return err
	}
	i := named(l, container)
	if i < 0 && len(l) == 1 {
		i = 0
	}
	if i < 0 {
		return fmt.Errorf("%s has no container %s", w.name(), container)
	}
	c, _ := l[i].(map[string]any)
	if err := how(c); err != nil {
		return err
	}
	return w.set("containers", l)
}

// mount puts the hub's folder into the container.
func (w workload) mount(container, folder, kind string) error {
	volumes, err := w.list("volumes")
	if err != nil {
		return err
	}
	volumes = append(volumes, map[string]any{
		"name": volumeName, "hostPath": map[string]any{"path": folder, "type": kind},
	})
	if err := w.set("volumes", volumes); err != nil {
		return err
	}
	return w.edit(container, func(c map[string]any) error {
		mounts, _ := c["volumeMounts"].([]any)
		c["volumeMounts"] = append(mounts, map[string]any{"name": volumeName, "mountPath": client.Mount, "readOnly": true})
		return nil
	})
}

// unmount takes it out of all containers, and says whether it was there.
func (w workload) unmount() (bool, error) {
	volumes, err := w.list("volumes")
	if err != nil || named(volumes, volumeName) < 0 {
		return false, err
	}
	ours := func(e any) bool { return text(e, "name") == volumeName }
	if err := w.set("volumes", slices.DeleteFunc(volumes, ours)); err != nil {
		return false, err
	}
	containers, err := w.list("containers")
	if err != nil {
		return false, err
	}
	for _, e := range containers {
		c, _ := e.(map[string]any)
		mounts, _ := c["volumeMounts"].([]any)
		if mounts != nil {
			c["volumeMounts"] = slices.DeleteFunc(mounts, ours)
		}
	}
	return true, w.set("containers", containers)
}

// mounted returns the first ConfigMap among the volumes for which has is true,
// "" if there is none.
func (w workload) mounted(has func(name string) bool) (string, error) {
	volumes, err := w.list("volumes")
	if err != nil {
		return "", err
	}
	for _, v := range volumes {
		m, _ := v.(map[string]any)
		if name := text(m["configMap"], "name"); name != "" && has(name) {
			return name, nil
		}
	}
	return "", nil
}
