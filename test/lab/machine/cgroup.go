// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchy is one mounted cgroup file system.
type hierarchy struct {
	Path   string // mount point
	FSType string // cgroup or cgroup2
	Data   string // mount option that names it again: "memory", "cpu,cpuacct", "name=systemd"
}

// hierarchies returns the mount points of all cgroup hierarchies.
func hierarchies() []string {
	hs, err := readHierarchies()
	if err != nil {
		return nil
	}
	var out []string
	for _, h := range hs {
		out = append(out, h.Path)
	}
	return out
}

func readHierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("list cgroups: %w", err)
	}
	defer f.Close()
	var out []hierarchy
	for sc := bufio.NewScanner(f); sc.Scan(); {
		w := strings.Fields(sc.Text())
		if len(w) < 4 || !strings.HasPrefix(w[1], cgroupRoot) {
			continue
		}
		switch w[2] {
		case "cgroup2":
			out = append(out, hierarchy{Path: w[1], FSType: w[2]})
		case "cgroup":
			out = append(out, hierarchy{Path: w[1], FSType: w[2], Data: controllers(w[3])})
		}
	}
	return out, nil
}

// controllers keeps of the mount options those that say which hierarchy it is.
func controllers(opts string) string {
	var keep []string
	for o := range strings.SplitSeq(opts, ",") {
		switch o {
		case "rw", "ro", "nosuid", "nodev", "noexec", "relatime", "seclabel", "xattr", "clone_children":
		default:
			if !strings.HasPrefix(o, "release_agent=") {
				keep = append(keep, o)
			}
		}
	}
	return strings.Join(keep, ",")
}

// joinCgroups moves the calling process into the machine's group in every
// hierarchy. Done before the cgroup namespace is made, so that the group is
// the root of what the machine sees, and nothing it makes escapes Kill.
func joinCgroups(rel string) error {
	hs, err := readHierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		dir := filepath.Join(h.Path, rel)
		if err := makeCgroup(h.Path, rel); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("join cgroup %s: %w", dir, err)
		}
	}
	return nil
}

func makeCgroup(mount, rel string) error {
	dir := mount
	for part := range strings.SplitSeq(rel, "/") {
		up := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
		// A new cpuset is empty and takes no process until it is filled.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(up, f)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, f), b, 0o644)
			}
		}
		_ = os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o644)
	}
	return nil
}

// mountCgroups shows the machine its own part of every hierarchy under root.
func mountCgroups(root string, hs []hierarchy) error {
	base := filepath.Join(root, cgroupRoot)
	if len(hs) == 1 && hs[0].Path == cgroupRoot { // cgroup v2 only
		return mount("cgroup2", base, "cgroup2", 0, "")
	}
	if err := mount("tmpfs", base, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, h := range hs {
		dir := filepath.Join(root, h.Path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make cgroup mount point: %w", err)
		}
		if err := mount("cgroup", dir, h.FSType, 0, h.Data); err != nil {
			return err
		}
	}
	return nil
}

func mount(src, dst, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(src, dst, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", src, dst, err)
	}
	return nil
}
