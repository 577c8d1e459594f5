// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() == 1 {
		beInit()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // main is where a process ends
}

// job is what the machine is to do: the host writes it into the initramfs.
type job struct {
	Args []string // the first is the program
	Env  []string
	Dir  string
}

// jobFile is where it is.
const jobFile = "/job.json"

// run is the host's part: it returns the exit code of the program.
func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 0, fmt.Errorf("usage: go test -exec 'go run ./test/vm' PACKAGE…")
	}
	k, err := debianKernel(ctx)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "magpie-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := writeRoot(dir+"/initrd", k, args); err != nil {
		return 0, fmt.Errorf("make initramfs: %w", err)
	}
	return boot(ctx, dir, k.image, os.Stdout)
}
