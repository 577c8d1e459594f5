// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/lab"
	"github.com/magpie-edge/magpie/test/lab/fetch"
)

// upFor makes this executable run `up` of the named lab and nothing else.
const upFor = "MAGPIE_LAB_TEST_UP"

func TestMain(m *testing.M) {
	if lab.Hidden() {
		return
	}
	if name := os.Getenv(upFor); name != "" {
		if _, err := lab.Up(context.Background(), options(name)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	m.Run()
}

func options(name string) lab.Options {
	return lab.Options{Name: name, Bare: true, NoBuild: true, Show: fetch.NewProgress(os.Stderr)}
}

// TestKernelLab kills `up` at several moments, brings the lab up nevertheless,
// reboots a node, takes the lab down, and looks for what is left.
func TestKernelLab(t *testing.T) {
	switch {
	case os.Getuid() == 0:
	case os.Getenv("MAGPIE_TEST_STRICT") != "":
		t.Fatal("needs root")
	default:
		t.Skip("needs root")
	}
	opt := options(fmt.Sprintf("test-%d", os.Getpid()))
	l, err := lab.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Down(context.Background(), false)
		_ = os.Remove(l.Dir() + ".lock")
	})
	if err := l.Build(t.Context()); err != nil { // may take minutes, and is no part of the test
		t.Fatal(err)
	}
	mounts := read(t, "/proc/self/mounts")
	for _, after := range []time.Duration{200, 1000, 2500, 5000, 8000} {
		killUp(t, opt.Name, after*time.Millisecond)
	}
	if l, err = lab.Up(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	nodes, err := l.Nodes(t.Context())
	if err != nil || len(nodes) != 6 {
		t.Fatalf("%d nodes, want 6: %v", len(nodes), err)
	}
	begin := time.Now()
	if _, err := lab.Up(t.Context(), opt); err != nil || time.Since(begin) > 20*time.Second {
		t.Errorf("up again: %v after %s", err, time.Since(begin))
	}
	if _, err := l.Break(t.Context(), "reboot", "b-1"); err != nil {
		t.Error(err)
	}
	if out, err := l.Exec(t.Context(), "b-1", "systemctl", "is-active", "containerd", "kubelet"); err != nil {
		t.Errorf("after reboot: %v: %s", err, out)
	}
	if err := l.Down(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := read(t, "/proc/self/mounts"); got != mounts {
		t.Errorf("mounts of the host changed:\n%s", got)
	}
	if _, err := os.Stat(l.Dir()); err == nil {
		t.Errorf("%s is still there", l.Dir())
	}
	if left := processes(t, l.Dir()); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

func killUp(t *testing.T, name string, after time.Duration) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), upFor+"="+name)
	var out bytes.Buffer
	cmd.Stderr = &out
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	t.Logf("killed after %s: %s", after, lines[len(lines)-1])
}

// processes are those that have dir among their arguments.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(dir)) {
			out = append(out, f+": "+string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
