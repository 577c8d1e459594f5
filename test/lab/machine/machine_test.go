// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/lab/machine"
)

func TestMain(m *testing.M) {
	if machine.Hidden() {
		return
	}
	m.Run()
}

// TestKernelMachine lives one machine through: services, a crash of one, a
// power cut, and that nothing of it is left on the host.
func TestKernelMachine(t *testing.T) {
	needRoot(t)
	mounts := hostMounts(t)
	lab := filepath.Join(t.TempDir(), "one")
	s := machine.Spec{Name: "node", Lab: lab, Bin: filepath.Join(lab, "bin"), Run: "r1"}
	if err := os.MkdirAll(s.Bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := machine.WriteRun(lab, "r1"); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(s.Dir(), "etc/systemd/system/ticker.service"),
		"[Service]\nExecStart=/bin/sh -c 'echo begin; exec sleep 1000'\nRestart=always\n[Install]\nWantedBy=multi-user.target\n", "")
	put(t, filepath.Join(s.Dir(), "etc/systemd/system/ready.service"),
		"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'mount -t tmpfs x /mnt; echo $$ > /run/here'\n", "")
	if err := machine.Start(t.Context(), exe, s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = machine.Kill(lab, "node") })
	copyExe(t, exe, filepath.Join(s.Dir(), "usr-local", "bin", "systemctl"))

	sh(t, lab, "systemctl daemon-reload && systemctl enable --now ticker && systemctl start ready")
	if got := sh(t, lab, "systemctl is-active ticker; systemctl is-enabled ticker; systemctl is-active ready.service; ls /sys/class/net; hostname"); got !=
		"active\nenabled\nactive\nlo\nnode" {
		t.Errorf("after start: %q", got)
	}
	sh(t, lab, "pkill -x sleep || kill $(pidof sleep)")
	deadline := time.Now().Add(5 * time.Second)
	for strings.Count(readFile(t, filepath.Join(s.Logs(), "ticker.log")), "begin") < 2 {
		if time.Now().After(deadline) {
			t.Fatal("the service was not started again")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := machine.Kill(lab, "node"); err != nil {
		t.Fatal(err)
	}
	if err := machine.Start(t.Context(), exe, s); err != nil {
		t.Fatal(err)
	}
	if err := machine.Boot(t.Context(), lab, "node"); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, lab, "systemctl is-active ticker; ls /run/here 2>/dev/null; true"); got != "active" {
		t.Errorf("after reboot: %q", got)
	}
	if err := machine.Kill(lab, "node"); err != nil {
		t.Fatal(err)
	}
	if got := hostMounts(t); got != mounts {
		t.Errorf("mounts of the host changed:\n%s", got)
	}
	left, _ := filepath.Glob("/sys/fs/cgroup/*/magpie-lab/one")
	if len(left) > 0 {
		t.Errorf("cgroups left: %v", left)
	}
}

// sysctlsOf lists what a kubelet writes and something of the host's own.
const sysctlsOf = "cat /proc/sys/vm/overcommit_memory /proc/sys/vm/panic_on_oom /proc/sys/kernel/panic " +
	"/proc/sys/kernel/panic_on_oops /proc/sys/kernel/keys/root_maxkeys /proc/sys/vm/swappiness"

// TestKernelHostSysctls: what a kubelet sets is set inside only, the rest of
// the kernel's settings cannot be written, the network's can.
func TestKernelHostSysctls(t *testing.T) {
	needRoot(t)
	lab := filepath.Join(t.TempDir(), "sysctl")
	s := machine.Spec{Name: "node", Lab: lab, Bin: t.TempDir(), Run: "r1"}
	if err := machine.WriteRun(lab, "r1"); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", sysctlsOf).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.Start(t.Context(), exe, s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = machine.Kill(lab, "node") })
	got := sh(t, lab, `cd /proc/sys
for f in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys; do
  echo 77 > $f; test "$(cat $f)" = 77 || echo "$f is not what was written"
done
(cat vm/swappiness > vm/swappiness) 2>/dev/null && echo "vm/swappiness can be written"
echo 1 > net/ipv4/ip_forward; cat net/ipv4/ip_forward`)
	if got != "1" {
		t.Errorf("inside: %s", got)
	}
	after, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", sysctlsOf).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(after, before) {
		t.Errorf("the host's settings were\n%sand are\n%s", before, after)
	}
}

// TestKernelRunEnded: a machine that was started by an `up` which has been
// undone meanwhile must not stay.
func TestKernelRunEnded(t *testing.T) {
	needRoot(t)
	lab := filepath.Join(t.TempDir(), "ended")
	s := machine.Spec{Name: "late", Lab: lab, Bin: t.TempDir(), Run: "gone"}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextFor(t, 2*time.Second)
	defer cancel()
	if err := machine.Start(ctx, exe, s); err == nil {
		t.Error("the machine stayed")
	}
	if _, alive := machine.ReadRecord(lab, "late"); alive {
		t.Error("its process is alive")
	}
	_ = machine.Kill(lab, "late")
}
