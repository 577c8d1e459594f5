// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Missing are the Debian packages that the host lacks.
func Missing() []string {
	var out []string
	for prog, pkg := range hostPrograms {
		if _, err := find(prog); err != nil && !slices.Contains(out, pkg) {
			out = append(out, pkg)
		}
	}
	slices.Sort(out)
	return out
}

// find looks also where a non-login root shell may not.
func find(prog string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		p := filepath.Join(dir, prog)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %s not found", prog)
}

// Install installs Debian packages. Services that packages bring are not
// started: the lab runs its own.
func Install(ctx context.Context, packages []string) error {
	args := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %s: %w", strings.Join(packages, " "), tail(out), err)
	}
	return nil
}

// Build makes those of the tools that the cache lacks. labDir is the folder test/lab
// of the repository. Only one process builds at a time; the others then find
// the work done.
func Build(ctx context.Context, cache, labDir string, tools []Tool, show *Progress) error {
	if err := os.MkdirAll(filepath.Join(cache, "bin"), 0o755); err != nil {
		return fmt.Errorf("make cache: %w", err)
	}
	todo := missingTools(cache, tools)
	if len(todo) == 0 {
		return nil
	}
	unlock, err := lock(filepath.Join(cache, "bin", ".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	todo = missingTools(cache, tools)
	for i, t := range todo {
		done := show.Step(fmt.Sprintf("build %s %s", t.Name, t.Version), i+1, len(todo))
		err := buildTool(ctx, cache, labDir, t)
		done(err)
		if err != nil {
			return err
		}
	}
	return nil
}

func missingTools(cache string, tools []Tool) []Tool {
	return slices.DeleteFunc(slices.Clone(tools), func(t Tool) bool {
		_, err := os.Stat(t.File(cache))
		return err == nil
	})
}

func buildTool(ctx context.Context, cache, labDir string, t Tool) error {
	tmp := fmt.Sprintf("%s.%d.tmp", t.File(cache), os.Getpid())
	defer os.Remove(tmp)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w " + t.LDFlags), "-o", tmp}
	if t.Tags != "" {
		args = append(args, "-tags="+t.Tags)
	}
	dir, pkg := filepath.Join(labDir, t.Module), t.Package
	if len(t.Without) > 0 {
		part, err := without(ctx, dir, t)
		if err != nil {
			return fmt.Errorf("build %s: %w", t.Name, err)
		}
		defer os.RemoveAll(part)
		dir, pkg = part, "."
	}
	if err := goRun(ctx, dir, append(args, pkg)...); err != nil {
		return fmt.Errorf("build %s: %w", t.Name, err)
	}
	if err := os.Rename(tmp, t.File(cache)); err != nil {
		return fmt.Errorf("build %s: %w", t.Name, err)
	}
	return nil
}

// without copies a tool's module and empties the packages that it is built
// without. dir is the module that says which version.
func without(ctx context.Context, dir string, t Tool) (copied string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", t.Package)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %s: %w", t.Package, tail(out), err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("download %s: %w", t.Package, err)
	}
	if copied, err = os.MkdirTemp("", "magpie-"+t.Name+"-"); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(copied)
		}
	}()
	if err := os.CopyFS(copied, os.DirFS(module.Dir)); err != nil {
		return copied, fmt.Errorf("copy %s: %w", t.Package, err)
	}
	for _, w := range t.Without {
		folder := filepath.Join(copied, w)
		if err := os.RemoveAll(folder); err != nil {
			return copied, fmt.Errorf("empty %s: %w", w, err)
		}
		if err := os.Mkdir(folder, 0o755); err != nil {
			return copied, fmt.Errorf("empty %s: %w", w, err)
		}
		if err := os.WriteFile(filepath.Join(folder, "empty.go"), []byte("package "+filepath.Base(w)+"\n"), 0o644); err != nil {
			return copied, fmt.Errorf("empty %s: %w", w, err)
		}
	}
	return copied, nil
}

// Product builds the repository's own commands into repo/bin, with the flags
// of its Makefile.
func Product(ctx context.Context, repo string) error {
	cmd := exec.CommandContext(ctx, "nice", "make", "--no-print-directory", "-C", repo, "build")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make build in %s: %s: %w", repo, tail(out), err)
	}
	return nil
}

// goRun yields to whatever else the machine does. It runs until it ends or ctx
// does; a killed `go build` keeps what it compiled in its own cache.
func goRun(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "nice", append([]string{"go"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %s: %w", args[0], dir, tail(out), err)
	}
	return nil
}

// tail keeps the end of a tool's output, where the error is.
func tail(out []byte) string {
	out = bytes.TrimSpace(out)
	if len(out) > 2000 {
		out = out[len(out)-2000:]
	}
	return string(out)
}

func lock(file string) (func(), error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}
