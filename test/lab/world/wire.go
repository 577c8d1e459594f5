// SPDX-License-Identifier: Apache-2.0

package world

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/magpie-edge/magpie/test/lab/machine"
)

// Wire lays all cables and sets all addresses, routes and NAT of a lab whose
// machines run.
func Wire(ctx context.Context, lab string) error {
	for _, c := range cables() {
		if err := plug(lab, c); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for name, script := range scripts() {
		g.Go(func() error { return run(ctx, lab, name, script) })
	}
	return g.Wait()
}

// run executes a shell script inside a machine.
func run(ctx context.Context, lab, name, script string) error {
	cmd, err := machine.Command(ctx, lab, name, "/bin/sh", "-e", "-s")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("configure %s: %s: %w", name, strings.TrimSpace(out.String()), err)
	}
	return nil
}

// scripts are the settings of every machine, by name. Each may be run again.
func scripts() map[string]string {
	all := map[string]string{Internet: internetScript(), Outside: outsideScript()}
	for _, s := range Sites() {
		all[s.Router()] = routerScript(s)
		for _, h := range hostsOf(s.Name) {
			all[h.Name] = hostScript(s, h)
		}
	}
	return all
}

// routing makes a machine a router. Reverse-path filters are off because the
// private line is asymmetric by nature while it is switched.
const routing = `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
  net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0
ip link set lo up
`

func internetScript() string {
	var b strings.Builder
	b.WriteString(routing)
	for _, s := range Sites() {
		fmt.Fprintf(&b, "ip link set %s up\nip addr replace %s/30 dev %s\n", s.Name, s.WANGW, s.Name)
		if s.Block != "" {
			fmt.Fprintf(&b, "ip route replace %s via %s\n", s.Block, s.WAN)
		}
	}
	fmt.Fprintf(&b, "ip link set %s up\nip addr replace %s/29 dev %s\n", Outside, outsideGW, Outside)
	b.WriteString(nft(bogons))
	return b.String()
}

func outsideScript() string {
	return fmt.Sprintf(`ip link set lo up
ip link set eth0 up
ip addr replace %s/29 dev eth0
ip addr replace %s/29 dev eth0
ip route replace default via %s
`, OutsideIP, OutsideIP2, outsideGW)
}

func routerScript(s Site) string {
	var b strings.Builder
	b.WriteString(routing)
	b.WriteString("[ -e /sys/class/net/lan ] || ip link add lan type bridge\nip link set lan up\n")
	fmt.Fprintf(&b, "ip addr replace %s%s dev lan\nip addr replace %s/64 dev lan nodad\n", s.GW, s.LAN, s.GW6)
	for _, h := range hostsOf(s.Name) {
		fmt.Fprintf(&b, "ip link set %s master lan up\n", h.Name)
	}
	fmt.Fprintf(&b, "ip link set wan up\nip addr replace %s/30 dev wan\nip route replace default via %s\n", s.WAN, s.WANGW)
	switch s.Name {
	case "vpc":
		fmt.Fprintf(&b, "ip link set xc0 up\nip addr replace %s/30 dev xc0\n", lineVPC)
	case "plant":
		fmt.Fprintf(&b, "ip link set xc0 up\nip addr replace %s/30 dev xc0\n", linePlant)
	}
	b.WriteString(nft(natTable(s, 0)))
	return b.String()
}

func hostScript(s Site, h Host) string {
	return fmt.Sprintf(`ip link set lo up
ip link set eth0 up
ip addr replace %s%s dev eth0
ip addr replace %s/64 dev eth0 nodad
ip route replace default via %s
ip -6 route replace default via %s
`, h.IP, s.LAN, h.IP6, s.GW, s.GW6)
}

func nft(rules string) string { return "nft -f - <<'EOF'\n" + rules + "EOF\n" }
