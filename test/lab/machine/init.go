// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// logDir is where a machine sees its own log files.
const logDir = "/var/log/lab"

// Init is pid 1 of a machine. It ends only by being killed.
func Init(specFile string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := readSpec(specFile)
	if err != nil {
		return err
	}
	record, err := Enlist(s.Lab, s.Name, s.Run)
	if err != nil {
		return err
	}
	defer record.Close()
	if err := enterRoot(s); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := newBootID(); err != nil {
		log.Warn("boot id is the host's", "err", err)
	}
	// A machine is asked to power off by a signal only from inside; what it
	// gets from a terminal by accident must not end it.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)

	sup := newSupervisor(log)
	go sup.reap()
	if err := sup.listenNotify(); err != nil {
		return err
	}
	log.Info("machine is up", "node", s.Name)
	return serve(sup)
}

// newBootID gives the machine a boot id of its own. The kernel's is that of
// the host and stays the same when a machine is rebooted; kubelet and others
// use it to notice a reboot. Containers mount a /proc of their own and see
// the kernel's: that cannot be helped here.
func newBootID() error {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return fmt.Errorf("read random: %w", err)
	}
	id := fmt.Sprintf("%x-%x-%x-%x-%x\n", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	file := "/run/boot-id"
	if err := os.WriteFile(file, []byte(id), 0o444); err != nil {
		return fmt.Errorf("write boot id: %w", err)
	}
	return mount(file, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, "")
}

// machineID is stable over the machine's life and differs between machines.
func machineID(name string) string {
	sum := sha256.Sum256([]byte("magpie-lab machine " + name))
	return fmt.Sprintf("%x\n", sum[:16])
}

// socketOf is the path of the machine's control socket as the host sees it.
func socketOf(r Record) string {
	return filepath.Join("/proc", fmt.Sprint(r.PID), "root", socketPath)
}
