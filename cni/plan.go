// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"net/netip"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Owner marks what this package wants in the kernel.
var Owner = plan.Owner{Name: "cni", Proto: api.ProtoCNI} //nolint:gochecknoglobals // a constant that Go cannot express

// Plan returns the plumbing of one pod.
func Plan(pod Pod, view fleet.View) plan.Plan {
	mtu := view.PodMTU()
	p := plan.Plan{
		Devices: []plan.Device{{
			Name: pod.HostDevice(), Kind: plan.Veth, MAC: pod.hostMAC(), MTU: mtu,
			PeerNS: pod.NetNS, PeerName: pod.IfName, PeerMAC: pod.podMAC(),
		}},
		Sysctls: sysctls(pod),
		Members: members(pod),
	}
	for _, a := range pod.Addrs {
		address(&p, pod, a)
	}
	shape(&p, pod, mtu)
	shortcuts(&p, pod, view)
	return p
}

// Teardown returns the part of a pod's plan whose removal removes all of it:
// a device takes its addresses, routes, neighbours and shapes with it, and
// every object less is a system call less on the way of a DEL.
func Teardown(p plan.Plan) plan.Plan {
	return plan.Plan{Devices: p.Devices, Members: p.Members, Shortcuts: p.Shortcuts}
}

func address(p *plan.Plan, pod Pod, a netip.Addr) {
	host := pod.HostDevice()
	gateway, everywhere := netip.MustParseAddr(api.PodGateway4), netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if a.Is6() {
		gateway, everywhere = netip.MustParseAddr(api.PodGateway6), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	alone := netip.PrefixFrom(a, a.BitLen())
	p.Addrs = append(p.Addrs, plan.Addr{NS: pod.NetNS, Dev: pod.IfName, Prefix: alone})
	p.Neighs = append(p.Neighs,
		plan.Neigh{NS: pod.NetNS, Dev: pod.IfName, IP: gateway, MAC: pod.hostMAC()},
		plan.Neigh{Dev: host, IP: a, MAC: pod.podMAC()},
	)
	p.Routes = append(p.Routes,
		plan.Route{NS: pod.NetNS, Dst: everywhere, Via: gateway, Dev: pod.IfName, OnLink: true},
		plan.Route{Dst: alone, Dev: host},
	)
}

// sysctls are the settings of the two ends. None of IPv6 is touched for a pod
// without an IPv6 address: the host's kernel may have none.
func sysctls(pod Pod) []plan.Sysctl {
	host := pod.HostDevice()
	// Strict: a pod may send from its own address only. The route back to it
	// is the /32, so nothing legitimate is refused.
	out := []plan.Sysctl{{Name: "net/ipv4/conf/" + host + "/rp_filter", Value: "1"}}
	if opens4(pod) {
		// A process of the host may call 127.0.0.1:hostPort; without this the
		// kernel refuses to send from 127.0.0.1 to the pod. What a pod could
		// do with it is dropped in chain "guard" of the table.
		out = append(out, plan.Sysctl{Name: "net/ipv4/conf/" + host + "/route_localnet", Value: "1"})
	}
	if !pod.has6() {
		return out
	}
	for _, s := range []struct{ ns, dev, key, value string }{
		{"", host, "disable_ipv6", "0"},
		{"", host, "accept_ra", "0"},
		// Runtimes switch IPv6 off in new namespaces; addresses are ours alone,
		// so duplicate detection would only delay the first packet.
		{pod.NetNS, pod.IfName, "disable_ipv6", "0"},
		{pod.NetNS, pod.IfName, "accept_dad", "0"},
	} {
		out = append(out, plan.Sysctl{NS: s.ns, Name: "net/ipv6/conf/" + s.dev + "/" + s.key, Value: s.value})
	}
	return out
}

// shape limits what the pod receives with a token bucket at the host's end,
// and what it sends with one on an ifb device that the host's end feeds.
func shape(p *plan.Plan, pod Pod, mtu int) {
	host, ifb := pod.HostDevice(), pod.ShapeDevice()
	if pod.Ingress.Rate != 0 {
		p.Shapes = append(p.Shapes, plan.Shape{Dev: host, Rate: pod.Ingress.Rate, Burst: pod.Ingress.burst()})
	}
	if pod.Egress.Rate != 0 {
		p.Devices = append(p.Devices, plan.Device{Name: ifb, Kind: plan.IFB, MTU: mtu})
		p.Shapes = append(p.Shapes,
			plan.Shape{Dev: ifb, Rate: pod.Egress.Rate, Burst: pod.Egress.burst()},
			plan.Shape{Dev: host, Redirect: ifb},
		)
	}
}

const (
	// burstUnset is from where on a burst means that nobody chose one: the
	// runtimes send the largest number they have, which would let half a
	// gigabyte through before the limit is felt.
	burstUnset = 1<<31 - 1
	// burstLeast lets two full segmentation-offload packets through: a bucket
	// smaller than a packet passes nothing at all.
	burstLeast = 2 * 65536 * 8
)

// burst is the asked burst, else a tenth of a second of the rate.
func (r Rate) burst() uint64 {
	if r.Burst == 0 || r.Burst >= burstUnset {
		return max(r.Rate/10, burstLeast)
	}
	return max(r.Burst, burstLeast)
}
