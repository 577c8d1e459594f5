// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Fault is one thing that is wrong between machines. The list of all faults
// is rendered whole; removing one from the list heals it.
type Fault struct {
	Kind  string `json:"kind"`           // cut, loss, rate, delay, block-udp, rebind-nat, shrink-mtu, black-hole, api-only, private-line
	Site  string `json:"site"`           // whose internet line; not for private-line
	Host  string `json:"host,omitempty"` // of the site: for api-only
	Value int    `json:"value"`          // loss: per mille; rate: Mbit/s; delay: ms each way; MTU: bytes; rebind-nat: times
	// Of a delay only: up to so many ms more, and what is lost per mille.
	Jitter int `json:"jitter,omitempty"`
	Loss   int `json:"loss,omitempty"`
}

// Kinds of faults with one sentence each.
func Kinds() map[string]string {
	return map[string]string{
		"cut":          "the site's internet line carries nothing",
		"loss":         "the site's internet line loses packets at random, both ways",
		"rate":         "the site's internet line is that slow, both ways",
		"delay":        "the site's internet line takes its time, both ways",
		"block-udp":    "the site's firewall drops UDP towards and from the internet",
		"rebind-nat":   "the site's NAT forgot its mappings and hands out other ports",
		"shrink-mtu":   "the site's internet line has a smaller MTU, and says so by ICMP",
		"black-hole":   "the site's internet line drops large packets silently",
		"api-only":     "the site's router lets this machine out to the API server and nowhere else; its neighbours reach it",
		"private-line": "the private line between plant and VPC has routes",
	}
}

// String is how the fault is shown: the words after `magpie-lab break`.
func (f Fault) String() string {
	switch f.Kind {
	case "private-line":
		return "private-line up"
	case "api-only":
		return f.Kind + " " + f.Host
	case "loss":
		return fmt.Sprintf("loss %s %g%%", f.Site, float64(f.Value)/10)
	case "delay":
		return fmt.Sprintf("delay %s %dms %dms %g%%", f.Site, f.Value, f.Jitter, float64(f.Loss)/10)
	case "rate", "shrink-mtu", "black-hole":
		return fmt.Sprintf("%s %s %d", f.Kind, f.Site, f.Value)
	}
	return f.Kind + " " + f.Site
}

// ApplyFaults makes the world have exactly these faults.
func ApplyFaults(ctx context.Context, lab string, faults []Fault) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return run(ctx, lab, Internet, lineScript(faults)) })
	for _, s := range Sites() {
		g.Go(func() error { return run(ctx, lab, s.Router(), siteScript(s, faults)) })
	}
	return g.Wait()
}

// Rebind makes the site's NAT forget. Called once, when the fault is added:
// mappings of TCP go too, as with a router that was restarted.
func Rebind(ctx context.Context, lab, site string) error {
	return run(ctx, lab, site+"-gw", "conntrack -F 2>/dev/null\nnft flush map inet nat cone 2>/dev/null || true\n")
}

// lineScript renders what is wrong on the internet's side of the lines.
func lineScript(faults []Fault) string {
	var rules, cmds strings.Builder
	for _, s := range Sites() {
		fmt.Fprintf(&cmds, "tc qdisc del dev %s root 2>/dev/null || true\nip link set %s mtu 1500 gso_max_segs 65535\n", s.Name, s.Name)
	}
	for _, f := range faults {
		both := func(match string) {
			fmt.Fprintf(&rules, "    iifname %q %s counter drop\n    oifname %q %s counter drop\n", f.Site, match, f.Site, match)
		}
		switch f.Kind {
		case "cut":
			both("")
		case "loss":
			both(fmt.Sprintf("numgen random mod 1000 <= %d", f.Value-1))
		case "black-hole":
			both(fmt.Sprintf("meta length > %d", f.Value))
		case "rate":
			fmt.Fprintf(&cmds, "tc qdisc add dev %s root tbf rate %dmbit burst 64kb latency 100ms\n", f.Site, f.Value)
		case "shrink-mtu":
			fmt.Fprintf(&cmds, "ip link set %s mtu %d\n", f.Site, f.Value)
		}
		if f.Kind == "loss" || f.Kind == "black-hole" {
			// What crosses a veth in one piece of 64 KB would be lost, or
			// measured, in one piece.
			fmt.Fprintf(&cmds, "ip link set %s gso_max_segs 1\n", f.Site)
		}
	}
	for _, s := range Sites() {
		cmds.WriteString(delayScript(s, faults))
	}
	return cmds.String() + nft(fresh("fault")+
		"table inet fault {\n  chain forward {\n    type filter hook forward priority -10; policy accept\n"+rules.String()+"  }\n}\n")
}

// siteScript renders what is wrong in a site's router.
func siteScript(s Site, faults []Fault) string {
	var rules, cmds strings.Builder
	mtu, round, line, segs, rate := 1500, 0, false, 65535, ""
	for _, f := range faults {
		line = line || f.Kind == "private-line"
		if f.Site != s.Name {
			continue
		}
		switch f.Kind {
		case "block-udp":
			rules.WriteString("    oifname wan meta l4proto udp counter drop\n    iifname wan meta l4proto udp counter drop\n")
		case "api-only":
			h, _ := FindHost(f.Host)
			fmt.Fprintf(&rules, "    oifname wan ip saddr %[1]s tcp dport 6443 accept\n    oifname wan ip saddr %[1]s counter drop\n"+
				"    iifname wan ip daddr %[1]s tcp sport 6443 accept\n    iifname wan ip daddr %[1]s counter drop\n", h.IP)
		case "rebind-nat":
			round = f.Value
		case "shrink-mtu":
			mtu = f.Value
		case "loss", "black-hole":
			segs = 1
		case "rate":
			rate = fmt.Sprintf("tc qdisc add dev wan root tbf rate %dmbit burst 64kb latency 100ms\n", f.Value)
		}
	}
	fmt.Fprintf(&cmds, "tc qdisc del dev wan root 2>/dev/null || true\nip link set wan mtu %d gso_max_segs %d\n%s", mtu, segs, rate)
	cmds.WriteString(lineRoutes(s, line))
	if s.NAT != OneToOne {
		// Replacing the table only when the round changed keeps what the
		// full-cone NAT has learned.
		fmt.Fprintf(&cmds, "if [ \"$(cat /run/nat-round 2>/dev/null || echo 0)\" != %d ]; then\n%secho %d > /run/nat-round\nfi\n",
			round, nft(natTable(s, round)), round)
	}
	return cmds.String() + nft(fresh("fault")+
		"table inet fault {\n  chain forward {\n    type filter hook forward priority -10; policy accept\n"+rules.String()+"  }\n}\n")
}

// lineRoutes sends traffic between plant and VPC over the private line, or
// takes the routes away.
func lineRoutes(s Site, up bool) string {
	dst, via := "", ""
	switch s.Name {
	case "vpc":
		dst, via = "172.20.0.0/24", linePlant
	case "plant":
		dst, via = "10.0.0.0/16", lineVPC
	default:
		return ""
	}
	if up {
		return fmt.Sprintf("ip route replace %s via %s dev xc0\n", dst, via)
	}
	return fmt.Sprintf("ip route del %s 2>/dev/null || true\n", dst)
}
