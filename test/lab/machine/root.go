// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// own are the folders of a machine that survive its reboot.
var own = []string{"etc", "var", "opt", "root", "srv", "usr-local"}

// fromHost is what a machine's /etc begins with: enough for the tools of /usr
// to work, nothing of the host's configuration.
var fromHost = []string{
	"alternatives", "ssl", "ca-certificates", "ca-certificates.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
	"passwd", "group", "shadow", "nsswitch.conf", "services", "protocols", "rpc", "iproute2", "os-release",
	"debian_version", "profile", "bash.bashrc", "host.conf", "gai.conf", "localtime", "timezone", "login.defs",
	"mke2fs.conf", "ethertypes", "xattr.conf", "terminfo",
}

// prepare makes the machine's folders on the host. It may be called again.
func prepare(ctx context.Context, s Spec) error {
	dirs := []string{
		filepath.Join(s.Lab, "machines"), s.Logs(), filepath.Join(s.Dir(), "mnt"),
		filepath.Join(s.Dir(), "usr-local", "bin"),
	}
	for _, d := range own {
		dirs = append(dirs, filepath.Join(s.Dir(), d))
	}
	for _, d := range []string{"log", "lib", "cache", "tmp", "spool"} {
		dirs = append(dirs, filepath.Join(s.Dir(), "var", d))
	}
	for _, d := range []string{"systemd/system", "kubernetes/manifests", "cni/net.d", "containerd", "sysctl.d", "modules-load.d", "default"} {
		dirs = append(dirs, filepath.Join(s.Dir(), "etc", d))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("prepare machine %s: %w", s.Name, err)
		}
	}
	for _, f := range fromHost {
		if err := copyOnce(ctx, "/etc/"+f, filepath.Join(s.Dir(), "etc", f)); err != nil {
			return fmt.Errorf("prepare machine %s: %w", s.Name, err)
		}
	}
	files := map[string]string{
		"etc/hostname":    s.Name + "\n",
		"etc/hosts":       "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 " + s.Name + "\n",
		"etc/resolv.conf": "# This machine has no name server.\n",
		"etc/machine-id":  machineID(s.Name),
		"etc/fstab":       "",
	}
	for f, text := range files {
		if _, err := os.Stat(filepath.Join(s.Dir(), f)); err == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(s.Dir(), f), []byte(text), 0o644); err != nil {
			return fmt.Errorf("prepare machine %s: %w", s.Name, err)
		}
	}
	if err := ensureLink("/run", filepath.Join(s.Dir(), "var", "run")); err != nil {
		return err
	}
	return s.write()
}

func copyOnce(ctx context.Context, src, dst string) error {
	if _, err := os.Lstat(dst); err == nil {
		return nil
	}
	if _, err := os.Lstat(src); err != nil {
		return nil //nolint:nilerr // not on this host
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", src, dst).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %s: %w", src, out, err)
	}
	return nil
}

func ensureLink(to, at string) error {
	if err := os.Symlink(to, at); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link %s: %w", at, err)
	}
	return nil
}

// enterRoot builds the machine's file tree and makes it the root of the
// calling process, whose mount namespace must be new. Nothing of the host's
// mounts remains.
func enterRoot(s Spec) error {
	hs, err := readHierarchies()
	if err != nil {
		return err
	}
	if err := mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	root := filepath.Join(s.Dir(), "mnt")
	if err := mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, step := range []func(string, Spec) error{makeDirs, bindHost, bindOwn} {
		if err := step(root, s); err != nil {
			return err
		}
	}
	for _, m := range []struct{ fstype, dir, data string }{
		{"tmpfs", "run", "mode=755"}, {"tmpfs", "tmp", "mode=1777"}, {"proc", "proc", ""}, {"sysfs", "sys", ""},
	} {
		if err := mount(m.fstype, filepath.Join(root, m.dir), m.fstype, 0, m.data); err != nil {
			return err
		}
	}
	if err := protectHost(root); err != nil {
		return err
	}
	if err := mountCgroups(root, hs); err != nil {
		return err
	}
	// eBPF objects pinned in one machine are not seen in another.
	_ = mount("bpf", filepath.Join(root, "sys/fs/bpf"), "bpf", 0, "")
	return pivot(root)
}

func makeDirs(root string, _ Spec) error {
	for _, d := range []string{
		"usr", "etc", "var", "opt", "root", "srv", "home", "mnt", "media", "boot",
		"run", "tmp", "proc", "sys", "dev", "lab/bin", "old",
	} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return fmt.Errorf("make root: %w", err)
		}
	}
	return nil
}

func bindHost(root string, s Spec) error {
	if err := bind("/usr", filepath.Join(root, "usr"), true); err != nil {
		return err
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		fi, err := os.Lstat("/" + d)
		if err != nil {
			continue
		}
		at := filepath.Join(root, d)
		if fi.Mode()&fs.ModeSymlink != 0 {
			to, err := os.Readlink("/" + d)
			if err != nil {
				return fmt.Errorf("read link: %w", err)
			}
			if err := ensureLink(to, at); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			return fmt.Errorf("make root: %w", err)
		}
		if err := bind("/"+d, at, true); err != nil {
			return err
		}
	}
	if err := mount("/dev", filepath.Join(root, "dev"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return bind(s.Bin, filepath.Join(root, "lab/bin"), true)
}

func bindOwn(root string, s Spec) error {
	for _, d := range own {
		at := filepath.Join(root, d)
		if d == "usr-local" {
			at = filepath.Join(root, "usr/local")
		}
		if err := bind(filepath.Join(s.Dir(), d), at, false); err != nil {
			return err
		}
	}
	at := filepath.Join(root, logDir)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	return bind(s.Logs(), at, false)
}

// bind shows src at dst. Read-only takes a second mount call.
func bind(src, dst string, readOnly bool) error {
	if err := mount(src, dst, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	return mount(src, dst, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func pivot(root string) error {
	if err := unix.PivotRoot(root, filepath.Join(root, "old")); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's mounts: %w", err)
	}
	if err := os.Remove("/old"); err != nil {
		return fmt.Errorf("leave the host's mounts: %w", err)
	}
	// kubelet and containerd need mounts in a pod's volumes to travel.
	return mount("none", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}
