// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/magpie-edge/magpie/test/bench/stage"
)

// folder names, below the repository's .cache, where the executables are.
const cache = ".cache/bench-cni"

// envBin tells the processes behind stage.Enter where that is.
const envBin = "MAGPIE_BENCH_CNI_BIN"

// peers are the plugins that ours are measured against.
var peers = []string{"ipam/host-local", "main/bridge", "meta/portmap"} //nolint:gochecknoglobals // a constant

// Prepare builds the executables of both sides. It must run before
// stage.Enter, because it may have to fetch modules.
func Prepare(ctx context.Context) error {
	if os.Getenv(envBin) != "" {
		return nil // the caller of stage.Enter has
	}
	root, err := stage.Output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/magpie-edge/magpie")
	if err != nil {
		return err
	}
	bin := filepath.Join(root, cache)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("make folder for executables: %w", err)
	}
	if _, err := stage.Output(ctx, root, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin+"/", "./cmd/magpie-cni"); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", bin + "/"}
	for _, p := range peers {
		args = append(args, "github.com/containernetworking/plugins/plugins/"+p)
	}
	if _, err := stage.Output(ctx, filepath.Join(root, "test/bench/cni/peer"), "go", args...); err != nil {
		return err
	}
	if err := os.Setenv(envBin, bin); err != nil {
		return fmt.Errorf("remember executables: %w", err)
	}
	return nil
}
