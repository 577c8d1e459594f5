// SPDX-License-Identifier: Apache-2.0

package matrix_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/cmd/magpiectl/matrix"
	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/cmd/magpiectl/probe"
	"github.com/magpie-edge/magpie/internal/golden"
)

// site is one node of a test world.
type site struct{ name, domain string }

func lab() []site {
	return []site{
		{"a-1", "gw-shop-a"},
		{"a-2", "gw-shop-a"},
		{"b-1", "gw-shop-b"},
		{"c-1", "gw-plant"},
		{"cloud-1", "gw-cloud"},
		{"cloud-2", "gw-cloud"},
	}
}

// route imitates the lab's paths: by the cloud between sites.
func route(sites []site) matrix.Pather {
	domain := map[string]string{}
	for _, s := range sites {
		domain[s.name] = s.domain
	}
	return func(from, to string, _, _ netip.Addr) *matrix.Path {
		switch d, e := domain[from], domain[to]; {
		case from == to:
			return &matrix.Path{Kind: "same-node", Nodes: []string{from}}
		case d == e:
			return &matrix.Path{Kind: "overlay", Nodes: []string{from, to}}
		case d == "gw-cloud" || e == "gw-cloud":
			return &matrix.Path{Kind: "link", Nodes: []string{from, to}}
		default:
			return &matrix.Path{Kind: "link", Nodes: []string{from, "cloud-1", to}, Relay: "gw-cloud"}
		}
	}
}

// run makes what probers of healthy nodes report; spoil changes one check.
func run(sites []site, v6 bool, spoil func(from, to string, c *probe.Check)) ([]matrix.Node, []matrix.Probed) {
	var nodes []matrix.Node
	var targets []probe.Target
	to := []string{}
	for i, s := range sites {
		n := matrix.Node{Name: s.name, Domain: s.domain, Addrs: []string{fmt.Sprintf("10.42.%d.9", i+1)}}
		targets = append(targets, probe.Target{Kind: probe.KindPod, Addr: n.Addrs[0] + ":4242"})
		to = append(to, s.name)
		if v6 {
			n.Addrs = append(n.Addrs, fmt.Sprintf("fd42:%d::9", i+1))
			targets = append(targets, probe.Target{Kind: probe.KindPod, Addr: "[" + n.Addrs[1] + "]:4242"})
			to = append(to, s.name)
		}
		nodes = append(nodes, n)
	}
	targets = append(targets,
		probe.Target{Kind: probe.KindName, Addr: "echo.magpie-connectivity.svc:4242"},
		probe.Target{Kind: probe.KindOutside, Addr: "203.0.113.80:443"})
	to = append(to, "service", "outside")
	var probed []matrix.Probed
	for i, s := range sites {
		p := matrix.Probed{Node: s.name, Targets: targets}
		p.Report.Errors = []string{"no answer", "refused", "no such name", "a packet of 1370 bytes is lost and no ICMP says why"}
		for j, t := range targets {
			c := probe.Check{TCP: int64(300 + 4211*(i+j)), UDP: int64(250 + 4000*(i+j))}
			switch t.Kind {
			case probe.KindPod:
				c.MTU = 1450 - 30*min((i+j)%3, 1)
			case probe.KindName:
				c.DNS = 900
			default:
				c.UDP = 0
			}
			if spoil != nil {
				spoil(s.name, to[j], &c)
			}
			p.Report.Checks = append(p.Report.Checks, c)
		}
		probed = append(probed, p)
	}
	return nodes, probed
}

// worlds are the reports that the goldens show, by the golden's name.
func worlds() map[string]func() matrix.Report {
	return map[string]func() matrix.Report{
		"lab": func() matrix.Report {
			nodes, probed := run(lab(), false, nil)
			return matrix.Assemble(nodes, probed, nil, route(lab()))
		},
		"holes": func() matrix.Report {
			nodes, probed := run(lab(), false, func(from, to string, c *probe.Check) {
				switch from + ">" + to {
				case "a-1>b-1":
					*c = probe.Check{TCPErr: 1, UDPErr: 1}
				case "a-2>b-1":
					c.UDP, c.UDPErr, c.MTU = 0, 1, 0
				case "b-1>a-2":
					c.MTU, c.MTUErr, c.Passes = 0, 4, 1280
				case "c-1>service":
					*c = probe.Check{DNSErr: 3}
				case "a-1>outside":
					*c = probe.Check{TCPErr: 2}
				}
			})
			probed[5].Problem = "its prober did not end: FailedCreatePodSandBox: no address left in 10.42.6.0/24"
			failed := []matrix.Failure{{To: "c-2", Probe: "node", Reason: "the node is not Ready: kubelet stopped posting node status."}}
			path := route(lab())
			return matrix.Assemble(nodes, probed, failed, func(from, to string, src, dst netip.Addr) *matrix.Path {
				if from == "a-1" && to == "b-1" {
					return &matrix.Path{Kind: "none", Nodes: []string{}, Problem: "domain gw-shop-b: no gateway of it is elected and has published its key (no-gateway)"}
				}
				return path(from, to, src, dst)
			})
		},
		"twelve": func() matrix.Report {
			var sites []site
			for i := range 12 {
				sites = append(sites, site{fmt.Sprintf("node-with-a-long-name-%02d", i+1), "gw-a-domain-with-a-long-name"})
			}
			nodes, probed := run(sites, true, nil)
			return matrix.Assemble(nodes, probed, nil, route(sites))
		},
		"without-magpie": func() matrix.Report {
			sites := []site{{"n1", ""}, {"n2", ""}}
			nodes, probed := run(sites, false, nil)
			return matrix.Assemble(nodes, probed, nil, nil)
		},
	}
}

func TestText(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		r := worlds()[c.Name]()
		r.Seconds = 12
		text := matrix.Text(r, false)
		for line := range strings.Lines(text) {
			if len(strings.TrimRight(line, "\n")) > page.Width {
				t.Errorf("wider than %d columns: %q", page.Width, line)
			}
		}
		return text
	})
}

// TestColour: the same text, with escapes only where something is said by
// colour, and each of them ended.
func TestColour(t *testing.T) {
	r := worlds()["holes"]()
	plain, painted := matrix.Text(r, false), matrix.Text(r, true)
	if strings.Contains(plain, "\x1b") {
		t.Error("colour without a terminal")
	}
	if painted == plain || strings.Count(painted, "\x1b[") != 2*strings.Count(painted, "\x1b[0m") {
		t.Error("colour is missing or not ended")
	}
	if got := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(painted); got != plain {
		t.Errorf("colour changes the text:\n%s", got)
	}
}

// TestEveryHoleIsNamed: whatever is missing, the report is not ok.
func TestEveryHoleIsNamed(t *testing.T) {
	for name, spoil := range map[string]func(c *probe.Check){
		"tcp": func(c *probe.Check) { c.TCP, c.TCPErr = 0, 1 },
		"udp": func(c *probe.Check) { c.UDP, c.UDPErr = 0, 1 },
		"mtu": func(c *probe.Check) { c.MTU, c.MTUErr = 0, 4 },
		"all": func(c *probe.Check) { *c = probe.Check{} },
	} {
		t.Run(name, func(t *testing.T) {
			nodes, probed := run(lab(), true, func(from, to string, c *probe.Check) {
				if from == "b-1" && to == "cloud-2" {
					spoil(c)
				}
			})
			r := matrix.Assemble(nodes, probed, nil, route(lab()))
			if r.OK || len(r.Failures) != 2 || r.Failures[0].From != "b-1" || r.Failures[0].To != "cloud-2" {
				t.Errorf("ok %v, failures %+v; want one a family, from b-1 to cloud-2", r.OK, r.Failures)
			}
		})
	}
	t.Run("answers missing", func(t *testing.T) {
		nodes, probed := run(lab(), false, nil)
		probed[0].Report.Checks = probed[0].Report.Checks[1:]
		if r := matrix.Assemble(nodes, probed, nil, nil); r.OK {
			t.Error("a report for other targets is taken as ok")
		}
	})
}
