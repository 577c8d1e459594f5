// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/test/bench/stage"
	"github.com/magpie-edge/magpie/test/lab/fetch"
)

// cache is the folder of our executables, below the repository.
const cache = ".cache/bench-hub"

// envBin tells the processes behind stage.Enter where that is.
const envBin = "MAGPIE_BENCH_HUB_BIN"

// Prepare builds our commands and those of Kubernetes that are not there. It
// must run before stage.Enter, because it may have to fetch modules.
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
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", bin + "/"}
	if _, err := stage.Output(ctx, root, "go", append(args, "./cmd/magpie-agent", "./cmd/magpie-manager", "./cmd/magpie-cni")...); err != nil {
		return err
	}
	tools, err := theirs()
	if err != nil {
		return err
	}
	built, err := builds()
	if err != nil {
		return err
	}
	if err := fetch.Build(ctx, built, filepath.Join(root, "test/lab"), tools, fetch.NewProgress(os.Stderr)); err != nil {
		return err
	}
	if err := os.Setenv(envBin, bin); err != nil {
		return fmt.Errorf("remember executables: %w", err)
	}
	return nil
}

// builds is where the lab, and test/apiserver, have what they build.
func builds() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	return filepath.Join(dir, "magpie"), nil
}

// theirs are the programs that are not ours.
func theirs() ([]fetch.Tool, error) {
	names := []string{"kube-apiserver", "kube-proxy", "coredns"}
	out := slices.DeleteFunc(fetch.Tools(), func(t fetch.Tool) bool { return !slices.Contains(names, t.Name) })
	if len(out) != len(names) {
		return nil, fmt.Errorf("the lab builds only %d of %s", len(out), strings.Join(names, ", "))
	}
	return out, nil
}

// ours returns the path of one of our commands.
func ours(name string) string { return filepath.Join(os.Getenv(envBin), name) }

// their returns the path of a program that is not ours.
func their(name string) (string, error) {
	tools, err := theirs()
	if err != nil {
		return "", err
	}
	dir, err := builds()
	if err != nil {
		return "", err
	}
	for _, t := range tools {
		if t.Name == name {
			return t.File(dir), nil
		}
	}
	return "", fmt.Errorf("%s is not built", name)
}
