// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// boot starts the machine, copies what its program prints to out, and returns
// how the program ended.
func boot(ctx context.Context, dir, image string, out io.Writer) (int, error) {
	console, exit := filepath.Join(dir, "console"), filepath.Join(dir, "exit")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1500M",
		"-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
		"-kernel", image, "-initrd", filepath.Join(dir, "initrd"),
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off",
		"-serial", "file:"+console, // ttyS0: the kernel
		"-serial", "stdio", // ttyS1: the program
		"-serial", "file:"+exit) // ttyS2: how it ended
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	// The machine ends with the thread that started it, and so with us.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	text, cerr := os.ReadFile(exit)
	code, aerr := strconv.Atoi(strings.TrimSpace(string(text)))
	if cerr == nil && aerr == nil {
		return code, nil
	}
	said, _ := os.ReadFile(console) // explains what is an error anyhow
	said = said[max(0, len(said)-4000):]
	return 0, errors.Join(ctx.Err(), err, fmt.Errorf("the machine ended without a result; its console:\n%s", said))
}
