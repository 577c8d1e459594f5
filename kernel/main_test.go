// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/kernel"
)

// inside marks the process that runs in namespaces of its own.
const inside = "MAGPIE_KERNEL_TEST_INSIDE"

// TestMain runs the tests in a new network and mount namespace (and a new user
// namespace when we are not root), so that they never touch the host.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(outside()) //nolint:forbidigo // this is a main
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare namespaces:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
	os.Exit(m.Run()) //nolint:forbidigo // this is a main
}

// outside starts this program again, inside, and waits for it.
func outside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // ends with its tests
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  unix.SIGKILL,
	}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	signal.Ignore(os.Interrupt) // the tests get it, too, and clean up
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run in new namespaces:", err)
		return 1
	}
	return 0
}

// furnish gives the namespaces what programs expect: a loopback device, a
// writable /run and a lock file for iptables.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	return os.Setenv("XTABLES_LOCKFILE", "/run/xtables.lock")
}

// newHost opens the door into a network namespace of the test's own, called
// "host".
func newHost(tb testing.TB, o kernel.Options) *kernel.Host {
	tb.Helper()
	o.Namespace = newNS(tb, "host")
	h, err := kernel.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { h.Close() }) // the namespace goes away
	return h
}

// newNS makes a named network namespace and returns its path.
func newNS(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join("/run/netns", name)
	run(tb, "ip netns add "+name)
	run(tb, "ip -n "+name+" link set lo up")                              // as a runtime leaves it
	tb.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() }) //nolint:errcheck,noctx // may be gone
	return path
}

// run runs a command, words split at spaces, and returns what it printed.
func run(tb testing.TB, line string) string {
	tb.Helper()
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput() //nolint:noctx // short
	if err != nil {
		tb.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}
