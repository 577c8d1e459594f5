// SPDX-License-Identifier: Apache-2.0

package world_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

func TestMain(m *testing.M) {
	if world.Hidden() {
		return
	}
	m.Run()
}

// newWorld is a world without Kubernetes: machines and cables only.
func newWorld(t *testing.T) string {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("MAGPIE_TEST_STRICT") != "":
		t.Fatal("needs root")
	default:
		t.Skip("needs root")
	}
	lab := filepath.Join(t.TempDir(), "world")
	bin := filepath.Join(lab, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := machine.WriteRun(lab, "test"); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range world.Machines() {
			if err := machine.Kill(lab, name); err != nil {
				t.Error(err)
			}
		}
	})
	copyExe(t, exe, filepath.Join(bin, "magpie-lab"))
	for _, name := range world.Machines() {
		spec := machine.Spec{Name: name, Lab: lab, Bin: bin, Run: "test"}
		if err := machine.Start(t.Context(), exe, spec); err != nil {
			t.Fatal(err)
		}
	}
	must(t, lab, world.Internet, "ln -sf /lab/bin/magpie-lab /usr/local/bin/systemctl")
	if err := world.Wire(t.Context(), lab); err != nil {
		t.Fatal(err)
	}
	return lab
}

// copyExe puts this executable where machines look for the lab's.
func copyExe(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// in runs a shell command inside a machine.
func in(t *testing.T, lab, name, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd, err := machine.Command(ctx, lab, name, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func must(t *testing.T, lab, name, script string) string {
	t.Helper()
	out, err := in(t, lab, name, script)
	if err != nil {
		t.Fatalf("%s: %s: %v: %s", name, script, err, out)
	}
	return out
}

// listen starts a responder on the machine that answers every datagram with
// the address it came from.
func listen(t *testing.T, lab, name, bind string, port int) {
	t.Helper()
	must(t, lab, name, fmt.Sprintf(
		`setsid socat -T 5 UDP4-RECVFROM:%d,bind=%s,fork SYSTEM:'echo $SOCAT_PEERADDR $SOCAT_PEERPORT' >/dev/null 2>&1 & sleep 0.3`, port, bind))
}

// seenAs sends from a fixed port and returns how the far end saw it.
func seenAs(t *testing.T, lab, name string, from int, to string) string {
	t.Helper()
	return strings.ReplaceAll(must(t, lab, name, fmt.Sprintf("echo hi | timeout 3 socat -t 1 - UDP4:%s,sourceport=%d,reuseaddr", to, from)), " ", ":")
}

func TestKernelWorld(t *testing.T) {
	lab := newWorld(t)
	listen(t, lab, world.Outside, world.OutsideIP, 9000)
	listen(t, lab, world.Outside, world.OutsideIP2, 9000)
	far, far2 := world.OutsideIP+":9000", world.OutsideIP2+":9000"

	t.Run("one-to-one", func(t *testing.T) {
		for _, name := range []string{"cloud-1", "cloud-2"} {
			h, _ := world.FindHost(name)
			if got, want := seenAs(t, lab, name, 4500, far), h.EIP+":4500"; got != want {
				t.Errorf("%s seen as %q, want %q", name, got, want)
			}
		}
	})
	t.Run("hairpin", func(t *testing.T) {
		cp, _ := world.FindHost(world.ControlPlane)
		c1, _ := world.FindHost("cloud-1")
		listen(t, lab, world.ControlPlane, cp.IP, 4500)
		if got, want := seenAs(t, lab, "cloud-1", 5000, cp.EIP+":4500"), c1.EIP+":5000"; got != want {
			t.Errorf("hairpin seen as %q, want %q", got, want)
		}
	})
	t.Run("full cone", func(t *testing.T) {
		a, b := seenAs(t, lab, "a-1", 4500, far), seenAs(t, lab, "a-1", 4500, far2)
		if a != b || a != "198.51.100.2:4500" {
			t.Errorf("mappings %q and %q, want one, with the port kept", a, b)
		}
		// Somebody the host never wrote to reaches it through the mapping.
		listen(t, lab, "a-1", "192.168.1.11", 4500)
		if got, want := seenAs(t, lab, "cloud-1", 7000, a), "203.0.113.101:7000"; got != want {
			t.Errorf("stranger seen as %q, want %q", got, want)
		}
	})
	t.Run("symmetric", func(t *testing.T) {
		a, b := seenAs(t, lab, "b-1", 4500, far), seenAs(t, lab, "b-1", 4500, far2)
		if a == b {
			t.Errorf("one mapping %q for two destinations", a)
		}
	})
	t.Run("port restricted", func(t *testing.T) {
		a := seenAs(t, lab, "c-1", 4500, far)
		listen(t, lab, "c-1", "172.20.0.11", 4500)
		if out, _ := in(t, lab, "cloud-1", "echo hi | timeout 2 socat -t 1 - UDP4:"+a+" 2>/dev/null"); out != "" {
			t.Errorf("stranger got an answer: %q", out)
		}
	})
	t.Run("overlapping LANs are apart", func(t *testing.T) {
		listen(t, lab, "a-2", "192.168.1.12", 9001)
		if out := seenAs(t, lab, "a-1", 6000, "192.168.1.12:9001"); out != "192.168.1.11:6000" {
			t.Errorf("neighbour sees %q", out)
		}
		if out, _ := in(t, lab, "b-1", "echo hi | timeout 2 socat -t 1 - UDP4:192.168.1.12:9001 2>/dev/null"); out != "" {
			t.Errorf("b-1 reached a-2: %q", out)
		}
	})
	t.Run("private addresses are not on the internet", func(t *testing.T) {
		for _, dst := range []string{"10.0.0.11", "192.168.1.11", "172.20.0.11"} {
			if out, _ := in(t, lab, world.Outside, "echo hi | timeout 2 socat -t 1 - UDP4:"+dst+":4500 2>/dev/null"); out != "" {
				t.Errorf("outside reached %s: %q", dst, out)
			}
		}
	})
	t.Run("no way out", func(t *testing.T) {
		for _, name := range world.Machines() {
			links := must(t, lab, name, "ls /sys/class/net")
			if strings.Contains(links, "ens") || strings.Contains(links, "docker") {
				t.Errorf("%s has devices of the host: %s", name, links)
			}
		}
		if out, err := in(t, lab, "cloud-1", "timeout 2 socat -T 1 - TCP4:1.1.1.1:443,connect-timeout=1 </dev/null"); err == nil {
			t.Errorf("cloud-1 reached the real internet: %s", out)
		}
	})
	t.Run("wire again", func(t *testing.T) {
		if err := world.Wire(t.Context(), lab); err != nil {
			t.Fatal(err)
		}
		seenAs(t, lab, "a-1", 4501, far)
	})
}
