// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// beInit is the first and last process of the machine.
func beInit() {
	code, err := obey()
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err) // the console: ttyS0
	} else if tty, err := serial("/dev/ttyS2"); err == nil {
		fmt.Fprintln(tty, code)
		tty.Close() // waits until it is sent
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) //nolint:errcheck // -no-reboot: qemu ends
}

// obey prepares the machine and does the job.
func obey() (code int, err error) {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/run"},
		{"tmpfs", "/tmp"},
		{"cgroup2", "/sys/fs/cgroup"},
		{"bpf", "/sys/fs/bpf"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return 0, fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	out, err := serial("/dev/ttyS1")
	if err != nil {
		return 0, err
	}
	defer out.Close()
	// Its device file is there only with the module, so nobody can ask for it.
	if said, err := exec.Command("/usr/sbin/modprobe", "tun").CombinedOutput(); err != nil { //nolint:noctx // short
		return 0, fmt.Errorf("load module tun: %w: %s", err, said)
	}
	b, err := os.ReadFile(jobFile)
	if err != nil {
		return 0, err
	}
	var j job
	if err := json.Unmarshal(b, &j); err != nil {
		return 0, err
	}
	cmd := exec.Command(j.Args[0], j.Args[1:]...) //nolint:noctx // the machine ends with it
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = j.Env, j.Dir, out, out
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// serial opens a serial line that passes bytes as they are.
func serial(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	return f, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}
