// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// layer says what the packages of one place may import.
type layer struct {
	dir string // the place: "vxlan"; with "/..." everything below, too
	// ours are the packages of this module it may import; "/..." as in dir.
	ours string
	// others are the modules it may import beside the standard library;
	// "*" for any but those that belong to one door.
	others string
	// pure forbids I/O, clocks, logs and chance; net allows package net, and
	// syscall, in which net hands out its sockets; http also net/http.
	pure, net, http bool
}

const (
	machinery = "k8s.io/api k8s.io/apimachinery"
	below     = "api/... fleet plan"
)

// layers is the import DAG, bottom up. The first entry that matches counts, so
// a package stands before the "/..." that would also match it.
var layers = []layer{
	// 0: words.
	{dir: "api/...", ours: "api/...", others: machinery, pure: true},
	{dir: "plan", pure: true},
	// 1: the fleet, and what every process has.
	{dir: "fleet", ours: "api/...", others: machinery, pure: true},
	{dir: "internal/reconcile", pure: true},
	{dir: "internal/health", pure: true},
	// 2: planners and protocols. Never each other.
	{dir: "nodepool/...", ours: below, others: machinery, pure: true},
	{dir: "topology", ours: below, others: machinery, pure: true},
	{dir: "vxlan", ours: below, others: machinery, pure: true},
	{dir: "routed", ours: below, others: machinery, pure: true},
	{dir: "eni", ours: below, others: machinery, pure: true},
	{dir: "tunnel", ours: below, others: machinery, pure: true},
	{dir: "tunnel/mesh", ours: below, others: machinery, pure: true},
	{dir: "tunnel/identity", ours: "api/... plan", others: machinery, pure: true},
	{dir: "tunnel/directory", ours: "api/...", others: machinery, pure: true},
	{dir: "tunnel/dial", pure: true},
	{dir: "cni", ours: below + " cni/shim internal/reconcile", others: machinery + " github.com/containernetworking/cni", pure: true},
	{dir: "cni/shim", net: true},
	{dir: "tunnel/stream", ours: "tunnel/stream/h2", others: "golang.org/x/net", pure: true, net: true},
	{dir: "tunnel/stream/h2", others: "golang.org/x/net", pure: true, net: true},
	{dir: "tunnel/stream/entry", ours: "tunnel/stream", pure: true, net: true, http: true},
	// 3: doors.
	{dir: "kernel", ours: "plan", others: "*"},
	{dir: "cluster", ours: below + " tunnel/identity tunnel/directory", others: "*"},
	{dir: "hub", ours: below + " topology", others: "*"},
	{dir: "hub/serve", ours: "hub hub/access", others: "*"},
	{dir: "hub/access", ours: "hub/file", others: "*"},
	{dir: "hub/cert", ours: "hub/file"},
	{dir: "hub/file"},
	{dir: "hub/client", ours: below, pure: true},
	{dir: "cni/socket", ours: "cni cni/shim"},
	{dir: "cni/disk", ours: "cni"},
	{dir: "eni/cloud", ours: "eni", others: "*"},
	{dir: "tunnel/wire", ours: "tunnel tunnel/stream", others: "*"},
	// 4: what looks at plans, and the lab.
	// A walk asks the planners for the plans of nodes that it is not on.
	{dir: "internal/walk", ours: below + " vxlan routed cni tunnel tunnel/mesh topology hub/client", others: machinery, pure: true},
	{dir: "test/...", ours: "*", others: "*"},
	// Beside the layers.
	{dir: "internal/golden", others: "*"},
	{dir: "internal/version"},
	{dir: "internal/garbage"},
	{dir: "internal/arch"},
	{dir: "charts/schema"},
	// 5: commands. Nobody imports them.
	{dir: "cmd/...", ours: "*", others: "*"},
}

// impure is what planners may not import, each with what to do instead.
var impure = map[string]string{
	"os":           "planners are pure: take bytes",
	"os/exec":      "planners are pure",
	"net":          "use net/netip",
	"net/http":     "planners are pure",
	"log":          "write a plan.Note",
	"log/slog":     "write a plan.Note",
	"math/rand":    "the same View must give the same bytes",
	"math/rand/v2": "the same View must give the same bytes",
	"crypto/rand":  "the same View must give the same bytes",
	"syscall":      "planners are pure",
}

// doors are modules that only some places may import, in any file but tests.
var doors = []struct{ module, places, why string }{
	{"github.com/vishvananda/netlink", "kernel test/...", "only kernel talks netlink"},
	{"github.com/vishvananda/netns", "kernel test/...", "only kernel enters namespaces"},
	{"github.com/mdlayher/netlink", "kernel test/...", "only kernel talks netlink"},
	{"github.com/coreos/go-iptables", "kernel test/...", "only kernel writes firewall rules"},
	{"github.com/google/nftables", "kernel test/...", "only kernel writes firewall rules"},
	{"sigs.k8s.io/knftables", "kernel test/...", "only kernel writes firewall rules"},
	{"github.com/cilium/ebpf", "kernel test/...", "only kernel loads programs"},
	{"golang.zx2c4.com/wireguard/wgctrl", "kernel test/...", "only kernel configures WireGuard"},
	{"golang.org/x/sys/unix", "kernel test/...", "only kernel makes system calls"},
	{"golang.zx2c4.com/wireguard", "kernel tunnel/wire test/...", "only doors open sockets and devices"},
	{"k8s.io/client-go", "cluster hub/... cmd/... test/...", "only cluster and hub talk to the API server"},
	{"sigs.k8s.io/controller-runtime", "cluster hub/... cmd/... test/...", "only cluster and hub talk to the API server"},
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		l, ok := layerOf(s.dir)
		if !ok {
			t.Errorf("%s: no layer names the folder %s: add it to layers and to docs/architecture.md", s.path, s.dir)
			continue
		}
		for _, path := range s.imports() {
			if why := l.refuses(s.dir, path); why != "" {
				t.Errorf("%s imports %s: %s", s.path, path, why)
			}
		}
	}
}

// TestClock holds the layers that must not know the time. The loop of
// internal/reconcile is where time enters.
func TestClock(t *testing.T) {
	for _, s := range sources(t) {
		l, ok := layerOf(s.dir)
		if !ok || !l.pure || s.test() || s.dir == "internal/reconcile" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep"}, sel.Sel.Name) {
				t.Errorf("%s:%d calls time.%s: take the time as an argument", s.path, s.line(n), sel.Sel.Name)
			}
			return true
		})
	}
}

// TestLayersRefuse shows that the table has teeth: one edge of every kind that
// must not exist.
func TestLayersRefuse(t *testing.T) {
	for _, e := range [][2]string{
		{"plan", module + "fleet"},
		{"fleet", module + "plan"},
		{"vxlan", module + "tunnel"},
		{"tunnel/mesh", module + "vxlan"},
		{"tunnel/stream", "net/http"},
		{"tunnel/stream/entry", module + "tunnel/wire"},
		{"tunnel/stream/entry", "os"},
		{"tunnel/dial", module + "tunnel/stream"},
		{"vxlan", module + "kernel"},
		{"vxlan", "net"},
		{"vxlan", "os"},
		{"cni/shim", "k8s.io/api/core/v1"},
		{"kernel", module + "fleet"},
		{"kernel", "k8s.io/client-go/kubernetes"},
		{"cluster", "github.com/vishvananda/netlink"},
		{"hub", module + "cluster"},
		{"hub", module + "hub/serve"},
		{"hub/serve", module + "topology"},
		{"hub/client", module + "hub"},
		{"cluster", module + "cmd/magpie-agent"},
		{"cmd/magpie-agent", "golang.org/x/sys/unix"},
		{"cmd/magpie-agent", module + "cmd/magpie-manager"},
		{"internal/reconcile", "k8s.io/api/core/v1"},
	} {
		l, ok := layerOf(e[0])
		if !ok {
			t.Errorf("no layer for %s", e[0])
		} else if l.refuses(e[0], e[1]) == "" {
			t.Errorf("%s may import %s", e[0], e[1])
		}
	}
}

func layerOf(dir string) (layer, bool) {
	best, found := layer{}, false
	for _, l := range layers {
		if within(dir, l.dir) && (!found || len(l.dir) > len(best.dir)) {
			best, found = l, true
		}
	}
	return best, found
}

// refuses returns why the package in dir may not import path, or "".
func (l layer) refuses(dir, path string) string {
	if own, ok := strings.CutPrefix(path, module); ok {
		return l.refusesOwn(dir, own)
	}
	for _, d := range doors {
		if within(path, d.module+"/...") && !anyWithin(dir, d.places) && !longerDoor(path, d.module) {
			return d.why
		}
	}
	if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
		if why := impure[path]; why != "" && l.pure && (path != "net" && path != "syscall" || !l.net) && (path != "net/http" || !l.http) {
			return why
		}
		return ""
	}
	if l.others == "*" || anyBelow(path, l.others) {
		return ""
	}
	return "this layer may import beside the standard library only: " + orNothing(l.others)
}

func (l layer) refusesOwn(dir, own string) string {
	switch {
	case strings.HasPrefix(own, "cmd/"):
		if command(own) == command(dir) {
			return "" // a part of this very command
		}
		return "nobody imports a command"
	case own == "internal/golden" && !strings.HasPrefix(dir, "test/"):
		return "golden is for tests"
	case !l.pure && anyWithin(own, "internal/reconcile internal/health"):
		return "" // standard library only, and made for whoever runs a loop
	case !l.pure && own == "internal/version", l.ours == "*", anyWithin(own, l.ours):
		return ""
	}
	return "this layer may import of this module only: " + orNothing(l.ours)
}

// command returns the command that a folder belongs to: "cmd/magpiectl".
func command(dir string) string {
	parts := strings.SplitN(dir, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// longerDoor reports whether another door, with a longer module path, is the
// one that path belongs to: wgctrl lies below wireguard.
func longerDoor(path, module string) bool {
	for _, d := range doors {
		if len(d.module) > len(module) && within(path, d.module+"/...") {
			return true
		}
	}
	return false
}

// within reports whether dir is the place, or below it if place ends in "/...".
func within(dir, place string) bool {
	if top, ok := strings.CutSuffix(place, "/..."); ok {
		return dir == top || strings.HasPrefix(dir, top+"/")
	}
	return dir == place
}

func anyWithin(dir, places string) bool {
	for place := range strings.FieldsSeq(places) {
		if within(dir, place) {
			return true
		}
	}
	return false
}

func anyBelow(path, modules string) bool {
	for m := range strings.FieldsSeq(modules) {
		if within(path, m+"/...") {
			return true
		}
	}
	return false
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
