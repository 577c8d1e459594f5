// SPDX-License-Identifier: Apache-2.0

package rewire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/cmd/magpiectl/rewire"
	"github.com/magpie-edge/magpie/internal/golden"
)

const folder = "/var/lib/magpie/hub"

func read(t *testing.T, text []byte) *unstructured.Unstructured {
	t.Helper()
	// By JSON, so that numbers are those that a client reads.
	j, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(j); err != nil {
		t.Fatal(err)
	}
	return u
}

func write(t *testing.T, o any) string {
	t.Helper()
	b, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestProxy: a DaemonSet and its ConfigMap in, both out, and back again.
func TestProxy(t *testing.T) {
	golden.Run(t, "testdata/proxy-*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		was := read(t, c.File(t, "daemonset.yaml"))
		var cm corev1.ConfigMap
		if err := yaml.Unmarshal(c.File(t, "configmap.yaml"), &cm); err != nil {
			t.Fatal(err)
		}
		has := func(name string) bool { return name == cm.Name && cm.Data[rewire.KubeconfigKey] != "" }
		if _, err := rewire.ProxyConfig(was, has); err != nil {
			return err.Error() + "\n"
		}
		now, own, err := rewire.ProxyOn(was, &cm, folder)
		if err != nil {
			return err.Error() + "\n"
		}
		again, _, err := rewire.ProxyOn(now, &cm, folder)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(now.Object, again.Object); diff != "" {
			t.Errorf("done twice it is something else (-once +twice):\n%s", diff)
		}
		if name, err := rewire.ProxyConfig(now, has); err != nil || name != cm.Name {
			t.Errorf("afterwards its ConfigMap is %q, %v", name, err)
		}
		back, on, err := rewire.ProxyOff(now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(was.Object, back.Object); diff != "" || !on {
			t.Errorf("it was on: %t; undone it is not what it was (-want +got):\n%s", on, diff)
		}
		if _, on, err := rewire.ProxyOff(was); err != nil || on {
			t.Errorf("what was never on is on: %t, %v", on, err)
		}
		return write(t, now.Object) + "---\n" + write(t, own)
	})
}

// TestCorefile: a Corefile in, the one that imports out, and back again.
func TestCorefile(t *testing.T) {
	golden.Run(t, "testdata/corefile-*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		was := string(c.File(t, "Corefile"))
		now, err := rewire.CorefileOn(was)
		if err != nil {
			return err.Error() + "\n"
		}
		if again, err := rewire.CorefileOn(now); err != nil || again != now {
			t.Errorf("done twice: %v\n%s", err, again)
		}
		if back := rewire.CorefileOff(now); back != was {
			t.Errorf("undone (-want +got):\n%s", cmp.Diff(was, back))
		}
		if rewire.CorefileIsOn(was) || !rewire.CorefileIsOn(now) {
			t.Error("it is not told on from off")
		}
		edited := "# by hand\n" + strings.Replace(now, "kubernetes", "# by hand, too\n    kubernetes", 1)
		if rewire.CorefileIsOn(rewire.CorefileOff(edited)) {
			t.Error("edited meanwhile, it can not be undone")
		}
		return now
	})
}

func FuzzCorefile(f *testing.F) {
	f.Add(".:53 {\n    kubernetes cluster.local {\n       pods insecure\n    }\n    forward . /etc/resolv.conf\n}\n")
	f.Add(".:53 {\n kubernetes\n}")
	f.Fuzz(func(t *testing.T, was string) {
		if rewire.CorefileIsOn(was) {
			return
		}
		now, err := rewire.CorefileOn(was)
		if err != nil {
			return
		}
		if back := rewire.CorefileOff(now); back != was {
			t.Errorf("%q becomes %q becomes %q", was, now, back)
		}
	})
}

// TestDNS: the Deployment gets the folder and loses it.
func TestDNS(t *testing.T) {
	golden.Run(t, "testdata/dns-*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		was := read(t, c.File(t, "deployment.yaml"))
		now, err := rewire.DNSOn(was, folder)
		if err != nil {
			return err.Error() + "\n"
		}
		again, err := rewire.DNSOn(now, folder)
		if err != nil {
			t.Fatal(err)
		}
		back, on, err := rewire.DNSOff(now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(now.Object, again.Object) + cmp.Diff(was.Object, back.Object); diff != "" || !on {
			t.Errorf("it was on: %t; done twice, or undone:\n%s", on, diff)
		}
		return write(t, now.Object)
	})
}

func TestKubeconfig(t *testing.T) {
	golden.Run(t, "testdata/kubeconfig-*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		text, err := rewire.Kubeconfig(string(c.File(t, "old")), "https://127.0.0.1:10298", folder+"/ca.crt")
		if err != nil {
			if strings.Contains(c.Name, "certificate") != errors.Is(err, rewire.ErrNoToken) {
				t.Errorf("%v", err)
			}
			return err.Error() + "\n"
		}
		return text
	})
}
