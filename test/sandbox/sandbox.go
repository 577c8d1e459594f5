// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs in namespaces of its own.
const inside = "MAGPIE_SANDBOX_INSIDE"

// Runner runs tests; a *testing.M is one.
type Runner interface{ Run() int }

// Main runs m's tests in namespaces of their own and returns the exit code.
// Call it from TestMain.
func Main(m Runner) int {
	if os.Getenv(inside) == "" {
		return again()
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare namespaces:", err)
		return 1
	}
	return m.Run()
}

// again starts this program again, inside, and waits for it.
func again() int {
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

// furnish gives the namespaces what programs expect: a writable /run with room
// for named namespaces and WireGuard's sockets, a lock file for iptables, and a
// loopback device that is up.
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
	if err := os.Setenv("XTABLES_LOCKFILE", "/run/xtables.lock"); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil { //nolint:noctx // at start
		return fmt.Errorf("set lo up: %w: %s", err, out)
	}
	// Package net looks once, when it first listens, whether there is ::1. Let
	// it do so here: the namespaces that tests make may have none.
	l, err := net.Listen("tcp", "[::1]:0") //nolint:noctx // local
	if err != nil {
		return err
	}
	return l.Close()
}

// Namespace makes a named network namespace with its loopback up and returns
// its path. It goes away with the test.
func Namespace(tb testing.TB, name string) string {
	tb.Helper()
	Run(tb, "ip netns add "+name)
	tb.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() }) //nolint:errcheck,noctx // may be gone
	Run(tb, "ip -n "+name+" link set lo up")
	return filepath.Join("/run/netns", name)
}

// Run runs commands, one a line, words split at spaces, and returns what they
// printed. A command that fails ends the test.
func Run(tb testing.TB, lines string) string {
	tb.Helper()
	var all strings.Builder
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput() //nolint:noctx // short
		if err != nil {
			tb.Fatalf("%s: %v\n%s", strings.TrimSpace(line), err, out)
		}
		all.Write(out)
	}
	return all.String()
}

// In calls f on a thread inside the network namespace at path. Sockets that f
// opens stay in it; goroutines that f starts do not.
func In(tb testing.TB, path string, f func() error) {
	tb.Helper()
	if _, err := At(path, func() (struct{}, error) { return struct{}{}, f() }); err != nil {
		tb.Fatalf("in %s: %v", filepath.Base(path), err)
	}
}

// At is In for those who want what f returns, and its error.
func At[T any](path string, f func() (T, error)) (T, error) {
	var v T
	errs := make(chan error, 1)
	go func() {
		// Never unlocked: the thread dies with the goroutine, so no other code
		// can find itself in the namespace.
		runtime.LockOSThread()
		err := enter(path)
		if err == nil {
			v, err = f()
		}
		errs <- err
	}()
	err := <-errs
	return v, err
}

func enter(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	return nil
}
