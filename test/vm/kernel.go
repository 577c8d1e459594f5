// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// metaPackage depends on the newest kernel of its kind.
const metaPackage = "linux-image-cloud-amd64"

// kernel is an unpacked one.
type kernel struct {
	image   string // the file to boot
	modules string // the folder that is /lib/modules/RELEASE on a node
	release string // as uname says
}

// debianKernel unpacks Debian's kernel into the lab's cache, once a version.
func debianKernel(ctx context.Context) (kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return kernel{}, err
	}
	if old, err := newest(cache); err == nil {
		return old, nil
	}
	pkg, err := kernelPackage(ctx)
	if err != nil {
		return kernel{}, err
	}
	fmt.Fprintf(os.Stderr, "vm: fetching %s\n", pkg)
	tmp, err := os.MkdirTemp(cache, ".tmp-")
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(tmp)
	for _, line := range []string{
		"apt-get download -q " + pkg, // into the folder it runs in
		"dpkg-deb --extract " + pkg + "_*.deb root",
		"busybox depmod -b root " + strings.TrimPrefix(pkg, "linux-image-"),
	} {
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Dir = tmp
		if out, err := cmd.CombinedOutput(); err != nil {
			return kernel{}, fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	if err := os.Rename(tmp+"/root", filepath.Join(cache, pkg)); err != nil {
		return kernel{}, err
	}
	return newest(cache)
}

func cacheDir() (string, error) {
	base := os.Getenv("MAGPIE_CACHE")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".cache/magpie")
	}
	dir := filepath.Join(base, "vm")
	return dir, os.MkdirAll(dir, 0o755)
}

// newest returns the unpacked kernel with the last name. Delete the folder to
// get Debian's present one.
func newest(cache string) (kernel, error) {
	found, err := filepath.Glob(filepath.Join(cache, "linux-image-*"))
	if err != nil || len(found) == 0 {
		return kernel{}, errors.Join(err, errors.New("no kernel in "+cache))
	}
	root := found[len(found)-1]
	release := strings.TrimPrefix(filepath.Base(root), "linux-image-")
	return kernel{
		image:   filepath.Join(root, "boot/vmlinuz-"+release),
		modules: filepath.Join(root, "lib/modules", release), release: release,
	}, nil
}

// kernelPackage asks apt for the package behind the meta package.
func kernelPackage(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", metaPackage).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w", metaPackage, err)
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("%s depends on no kernel (apt-get update?):\n%s", metaPackage, out)
}
