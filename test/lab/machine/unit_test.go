// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/test/lab/machine"
)

const kubelet = `# the unit of a package
[Unit]
Description=kubelet
After=containerd.service network-online.target

[Service]
Type=simple
Environment="KUBELET_CONFIG_ARGS=--config=/etc/kubernetes/kubelet.yaml" OTHER='two words'
EnvironmentFile=-@DIR@/default
ExecStart=/usr/bin/old
ExecStartPre=-/bin/false "one word"
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
`

const dropIn = `[Service]
ExecStart=
ExecStart=/usr/bin/kubelet \
  --kubeconfig=/etc/kubernetes/kubelet.conf \
  # a comment inside does not end the line
  $KUBELET_CONFIG_ARGS --x=${OTHER}-$$ $KUBELET_EXTRA_ARGS
RestartSec=500ms
`

func TestUnit(t *testing.T) {
	vendor, admin := t.TempDir(), t.TempDir()
	put(t, filepath.Join(vendor, "kubelet.service"), kubelet, vendor)
	put(t, filepath.Join(admin, "kubelet.service.d", "10-kubeadm.conf"), dropIn, vendor)
	put(t, filepath.Join(vendor, "default"), "# facts\nKUBELET_EXTRA_ARGS=\"--a=1 --b=\"\n", "")

	u, err := machine.ReadUnit("kubelet.service", admin, vendor)
	if err != nil {
		t.Fatal(err)
	}
	env, err := u.Environ()
	if err != nil {
		t.Fatal(err)
	}
	argv, mayFail := machine.Argv(u.Start[0], env)
	want := []string{
		"/usr/bin/kubelet", "--kubeconfig=/etc/kubernetes/kubelet.conf",
		"--config=/etc/kubernetes/kubelet.yaml", "--x=two words-$", "--a=1", "--b=",
	}
	if diff := cmp.Diff(want, argv); diff != "" || mayFail {
		t.Errorf("ExecStart (-want +got), mayFail %v:\n%s", mayFail, diff)
	}
	pre, mayFail := machine.Argv(u.StartPre[0], env)
	if diff := cmp.Diff([]string{"/bin/false", "one word"}, pre); diff != "" || !mayFail {
		t.Errorf("ExecStartPre (-want +got), mayFail %v:\n%s", mayFail, diff)
	}
	if len(u.Start) != 1 || u.Restart != "always" || u.RestartIn != 500*time.Millisecond {
		t.Errorf("unit %+v", u)
	}
	if diff := cmp.Diff([]string{"containerd.service", "network-online.target"}, u.After); diff != "" {
		t.Errorf("After (-want +got):\n%s", diff)
	}
}

func TestUnitRefuses(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "empty.service"), "[Service]\nType=simple\n", "")
	for _, name := range []string{"empty.service", "missing.service"} {
		if _, err := machine.ReadUnit(name, dir); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzUnit(f *testing.F) {
	f.Add(kubelet + dropIn)
	f.Add("[Service]\nExecStart=a \\\n\\\n${ $ $$ \"")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "a.service"), text, "")
		u, err := machine.ReadUnit("a.service", dir)
		if err != nil {
			return
		}
		machine.Argv(u.Start[0], u.Env)
	})
}

func put(t *testing.T, file, text, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if dir != "" {
		text = strings.ReplaceAll(text, "@DIR@", dir)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
