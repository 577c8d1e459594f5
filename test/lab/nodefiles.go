// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/magpie-edge/magpie/test/lab/fetch"
	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// pauseImage is the sandbox image; the tag changes when the program does.
const pauseImage = "magpie.lab/pause:1"

// containerdConfig is that of a usual machine, but for what this host lacks:
// containers may not raise their OOM score without CAP_SYS_RESOURCE, there is
// no AppArmor, cgroups are not systemd's, and nothing can be pulled.
const containerdConfig = `version = 3

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '` + pauseImage + `'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
  conf_dir = '/etc/cni/net.d'
  use_internal_loopback = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = false
`

const containerdUnit = `[Unit]
Description=containerd container runtime

[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Restart=always
RestartSec=1
KillMode=process
Delegate=yes

[Install]
WantedBy=multi-user.target
`

// kubeletFacts are what a kubelet must know about this machine, in the place
// where a kubelet looks for an administrator's settings. They win over what
// the join script writes.
const kubeletFacts = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
shutdownGracePeriod: 0s
staticPodPath: /etc/kubernetes/manifests
# kubectl logs reads one file: long logs are what the tunnel is tried with.
containerLogMaxSize: 1Gi
`

// kubeletEnv gives the same to a kubelet whose unit reads /etc/default/kubelet.
// An empty list in a drop-in file does not override; the flag does.
const kubeletEnv = `KUBELET_EXTRA_ARGS="--config-dir=/etc/kubernetes/kubelet.conf.d --enforce-node-allocatable= --cgroups-per-qos=false"
`

// linkTools makes the folder that machines see as /lab/bin: the tools under
// their own names, whatever their version, and the lab itself.
func (l *Lab) linkTools() error {
	bin := filepath.Join(l.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("make bin folder: %w", err)
	}
	for _, t := range fetch.Tools() {
		if err := place(t.File(l.opt.Cache), filepath.Join(bin, t.Name)); err != nil {
			return err
		}
	}
	return place(l.opt.Exe, l.exe())
}

// exe is the copy of the lab's executable that its machines run. A copy,
// because the original may be rebuilt meanwhile.
func (l *Lab) exe() string { return filepath.Join(l.dir, "bin", "magpie-lab") }

// place links or copies src to dst unless dst is that already.
func place(src, dst string) error {
	a, err := os.Stat(src)
	if err != nil {
		return fmt.Errorf("place %s: %w", dst, err)
	}
	b, err := os.Stat(dst)
	if err == nil && (os.SameFile(a, b) || (a.Size() == b.Size() && !a.ModTime().After(b.ModTime()))) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return fmt.Errorf("place %s: %w", dst, err)
	}
	tmp := dst + ".new"
	_ = os.Remove(tmp)
	if filepath.Base(dst) == "magpie-lab" || os.Link(src, tmp) != nil {
		data, err := os.ReadFile(src)
		if err != nil {
			return fmt.Errorf("place %s: %w", dst, err)
		}
		if err := os.WriteFile(tmp, data, 0o755); err != nil {
			return fmt.Errorf("place %s: %w", dst, err)
		}
	}
	if err := os.Rename(tmp, dst); err != nil {
		return fmt.Errorf("place %s: %w", dst, err)
	}
	return nil
}

// writeNodeFiles prepares a machine's own files before it is started: what a
// cloud or an installer puts on a machine that is about to join.
func (l *Lab) writeNodeFiles(name string) error {
	dir := machine.Spec{Name: name, Lab: l.dir}.Dir()
	programs := []string{"systemctl"}
	files := map[string]string{}
	h, isHost := world.FindHost(name)
	switch {
	case isHost && h.Type == "control-plane":
		programs = append(programs, "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
		l.controlPlaneFiles(files)
	case isHost:
		programs = append(programs, "containerd", "containerd-shim-runc-v2", "ctr", "kubelet", "kubectl")
		workerFiles(files)
	case name == world.Outside:
		programs = append(programs, "agnhost")
		files["etc/systemd/system/echo.service"] = echoUnit
	}
	for f, text := range files {
		if err := write(filepath.Join(dir, f), text, 0o644); err != nil {
			return err
		}
		if filepath.Dir(f) == "etc/systemd/system" {
			if err := enable(dir, filepath.Base(f)); err != nil {
				return err
			}
		}
	}
	for _, p := range programs {
		to := "/lab/bin/" + p
		if p == "systemctl" {
			to = "/lab/bin/magpie-lab"
		}
		if err := symlink(to, filepath.Join(dir, "usr-local", "bin", p)); err != nil {
			return err
		}
	}
	return nil
}

// echoUnit is the far end for "a pod reaches the world outside".
const echoUnit = `[Service]
ExecStart=/usr/local/bin/agnhost netexec --http-port=80 --udp-port=8081
Restart=always
`

func workerFiles(files map[string]string) {
	files["etc/containerd/config.toml"] = containerdConfig
	files["etc/systemd/system/containerd.service"] = containerdUnit
	files["etc/kubernetes/kubelet.conf.d/90-machine.conf"] = kubeletFacts
	files["etc/default/kubelet"] = kubeletEnv
}

func enable(dir, unit string) error {
	return symlink("/etc/systemd/system/"+unit, filepath.Join(dir, "etc/systemd/system/multi-user.target.wants", unit))
}

func symlink(to, at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return fmt.Errorf("link %s: %w", at, err)
	}
	if err := os.Symlink(to, at); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link %s: %w", at, err)
	}
	return nil
}
