// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// programs of the host that tests call. Their libraries come along.
var programs = []string{ //nolint:gochecknoglobals // a list
	"sh", "ip", "ss", "bridge", "tc", "nft", "conntrack", "sysctl", "busybox",
	"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore",
	"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy", "iptables-legacy-save", "ip6tables-legacy-save",
}

// applets are programs that busybox plays.
var applets = []string{"cat", "ls", "mount", "modprobe", "rmmod", "sleep", "true", "false", "dmesg", "ps"} //nolint:gochecknoglobals // a list

// folders of the host that come along, where they are.
var folders = []string{"/usr/lib/x86_64-linux-gnu/xtables", "/etc/iproute2", "/etc/protocols", "/etc/services", "/etc/passwd", "/etc/group"} //nolint:gochecknoglobals // a list

// modules are the parts of /lib/modules/RELEASE/kernel that come along.
var modules = []string{"net", "drivers/net", "lib", "crypto", "arch/x86/crypto"} //nolint:gochecknoglobals // a list

// repository is where the repository is in the machine. Tests read their
// testdata, and pages of docs.
const repository = "/repository"

// writeRoot makes the machine's file system: args is what it is to run, in
// the folder of the repository that we are in.
func writeRoot(file string, k kernel, args []string) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	top, err := topOf(here)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	a, err := newArchive(file)
	if err != nil {
		return err
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} { // as Debian has it
		a.dir("/usr/" + link)
		a.symlink("/"+link, "usr/"+link)
	}
	a.text("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n"))
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/var/lib", "/etc"} {
		a.dir(dir)
	}
	a.symlink("/var/run", "/run")
	a.copy("/init", self, nil)
	a.copy("/program", args[0], nil)
	a.copy(repository, top, func(rel string) bool {
		return rel == ".git" || rel == "bin" || rel == "dist" || rel == ".cache"
	})
	addModules(a, k)
	err = addPrograms(a)
	work, rerr := filepath.Rel(top, here)
	j := job{Args: append([]string{"/program"}, args[1:]...), Env: environment(), Dir: filepath.Join(repository, work)}
	b, jerr := json.Marshal(j)
	a.text(jobFile, b)
	return errors.Join(err, rerr, jerr, a.close())
}

// topOf is the folder of the go.mod above dir.
func topOf(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == "/" {
			return "", fmt.Errorf("%s is in no module", dir)
		}
	}
}

// environment is what tests are told by ours, and that they are in the machine.
func environment() []string {
	out := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp",
		// The module is there: a test that could do without must not.
		"MAGPIE_TEST_WIREGUARD=kernel",
	}
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "MAGPIE_TEST_") || strings.HasPrefix(e, "GO") {
			out = append(out, e)
		}
	}
	return out
}

func addModules(a *archive, k kernel) {
	to := "/usr/lib/modules/" + k.release
	for _, part := range modules {
		a.copy(to+"/kernel/"+part, filepath.Join(k.modules, "kernel", part), nil)
	}
	a.copy(to, k.modules, func(rel string) bool { return rel == "kernel" })
}

// addPrograms copies programs with what they are linked to.
func addPrograms(a *archive) error {
	for _, f := range folders {
		a.copy(f, f, nil)
	}
	libraries, err := filepath.Glob("/usr/lib/x86_64-linux-gnu/xtables/*.so")
	if err != nil {
		return err
	}
	for _, name := range programs {
		p, err := lookIn(name, "/usr/sbin", "/usr/bin", "/sbin", "/bin")
		if err != nil {
			return err
		}
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			return err
		}
		a.copy(real, real, nil)
		a.symlink(p, real) // nothing, where it is the file itself
		libraries = append(libraries, real)
	}
	for _, name := range applets {
		a.symlink("/usr/bin/"+name, "/usr/bin/busybox")
		a.symlink("/usr/sbin/"+name, "/usr/bin/busybox")
	}
	return addLibraries(a, libraries)
}

func lookIn(name string, dirs ...string) (string, error) {
	i := slices.IndexFunc(dirs, func(d string) bool { _, err := os.Stat(filepath.Join(d, name)); return err == nil })
	if i < 0 {
		return "", fmt.Errorf("program %s not found; make deps installs it", name)
	}
	return filepath.Join(dirs[i], name), nil
}

// addLibraries copies what the files are linked to, to where they look for it.
func addLibraries(a *archive, files []string) error {
	// It fails if one of the files is static, and prints the others all the same.
	out, err := exec.Command("ldd", files...).Output() //nolint:noctx // reads files
	if len(out) == 0 {
		return fmt.Errorf("ldd: %w", err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if !strings.HasPrefix(word, "/") || strings.HasSuffix(word, ":") {
			continue
		}
		real, err := filepath.EvalSymlinks(word)
		if err != nil {
			return err
		}
		name := word // /lib and /lib64 are links there
		if strings.HasPrefix(word, "/lib") {
			name = "/usr" + word
		}
		a.copy(name, real, nil)
	}
	return nil
}
