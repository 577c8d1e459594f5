// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Busybox is a layer with Debian's static busybox as the usual commands, for
// `kubectl exec` into images that hold one static binary.
func Busybox() Layer {
	l := Layer{
		{Path: "bin/busybox", Source: "/bin/busybox"},
		{Path: "tmp", Mode: 0o1777},
		{Path: "etc/passwd", Text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", Mode: 0o644},
		{Path: "etc/group", Text: "root:x:0:\nnogroup:x:65534:\n", Mode: 0o644},
	}
	for c := range strings.FieldsSeq("sh ls cat cp mv rm mkdir ln echo env grep sed awk head tail sleep ps kill id date " +
		"hostname nslookup wget nc ping traceroute ifconfig dd cut sort uniq wc tr test true false sha256sum stat find xargs seq timeout vi top tar stty touch md5sum") {
		l = append(l, File{Path: "bin/" + c, Link: "busybox"})
	}
	return l
}

// HostTools is a layer with the programs that the agent's libraries
// (go-iptables, knftables) run, as the host has them, with their shared
// libraries and plug-ins.
func HostTools(ctx context.Context) (Layer, error) {
	l := Layer{
		{Path: "bin", Link: "usr/bin"},
		{Path: "sbin", Link: "usr/sbin"},
		{Path: "lib", Link: "usr/lib"},
		{Path: "lib64", Link: "usr/lib64"},
		{Path: "tmp", Mode: 0o1777},
		{Path: "run"},
		{Path: "usr/bin/busybox", Source: "/bin/busybox"},
		{Path: "usr/bin/sh", Link: "dash"}, // busybox' own prefers its applets, its `ip` too
	}
	for _, f := range []string{"/etc/protocols", "/etc/services", "/etc/ssl/certs/ca-certificates.crt"} {
		if _, err := os.Stat(f); err == nil {
			l = append(l, File{Path: strings.TrimPrefix(f, "/"), Source: f, Mode: 0o644})
		}
	}
	for c := range strings.FieldsSeq("ls cat cp mv rm mkdir ln grep sed head tail sleep ps kill id hostname nc ping wget test stat find") {
		l = append(l, File{Path: "usr/bin/" + c, Link: "busybox"})
	}
	for _, fam := range []string{"iptables", "ip6tables"} {
		for _, c := range []string{"", "-save", "-restore", "-nft", "-nft-save", "-nft-restore"} {
			l = append(l, File{Path: "usr/sbin/" + fam + c, Link: "xtables-nft-multi"})
		}
	}
	programs := []string{"/usr/sbin/xtables-nft-multi", "/usr/sbin/nft", "/usr/sbin/conntrack", "/bin/dash", "/bin/ip", "/sbin/tc", "/sbin/bridge"}
	plugins, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil || len(plugins) == 0 {
		return nil, fmt.Errorf("no iptables plug-ins on this host: install iptables")
	}
	for _, p := range append(programs, plugins...) {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		l = append(l, File{Path: inUsr(p), Source: p})
	}
	libs, err := libraries(ctx, append(programs, plugins...))
	if err != nil {
		return nil, err
	}
	for _, p := range libs {
		l = append(l, File{Path: inUsr(p), Source: p})
	}
	return l, nil
}

// inUsr is the path in the image, where /bin, /sbin and /lib are in /usr.
func inUsr(p string) string {
	p = strings.TrimPrefix(p, "/")
	if !strings.HasPrefix(p, "usr/") {
		p = "usr/" + p
	}
	return p
}

// libraries asks the dynamic linker what the programs load.
func libraries(ctx context.Context, programs []string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", existing(programs)...).Output()
	if err != nil {
		return nil, fmt.Errorf("list shared libraries: %w", err)
	}
	seen := map[string]bool{}
	var libs []string
	for line := range strings.Lines(string(out)) {
		for w := range strings.FieldsSeq(line) {
			if strings.HasPrefix(w, "/") && strings.Contains(w, ".so") && !strings.HasSuffix(w, ":") && !seen[w] {
				seen[w] = true
				libs = append(libs, w)
			}
		}
	}
	return libs, nil
}

func existing(files []string) []string {
	var out []string
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			out = append(out, f)
		}
	}
	return out
}
