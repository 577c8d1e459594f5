// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"fmt"
	"net/netip"

	"github.com/magpie-edge/magpie/plan"
)

// Names of the maps and sets in our table whose elements change with the pods.
// Each exists once a family: the digit of the family follows.
const (
	setPorts   = "ports"   // hostIP . protocol . port -> pod . port
	setAny     = "any"     // protocol . port -> pod . port, on every address of the host
	setHairpin = "hairpin" // pod . pod: a pod that calls itself through its hostPort
	setNodes   = "nodes"   // nodes of the own domain
)

// members are the elements of one pod: one a hostPort and family, and one that
// lets a pod with hostPorts call itself through them.
func members(pod Pod) []plan.Member {
	var out []plan.Member
	for _, a := range pod.Addrs {
		f := familyOf(a)
		open := false
		for _, port := range pod.Ports {
			if !port.serves(f.v6) {
				continue
			}
			open = true
			out = append(out, f.port(port, a))
		}
		if open {
			out = append(out, f.member(setHairpin, fmt.Sprintf("%s . %s", a, a), ""))
		}
	}
	return out
}

// opens4 reports whether the pod has a hostPort on an IPv4 address.
func opens4(pod Pod) bool {
	for _, m := range members(pod) {
		if m.Set == setHairpin+four.digit {
			return true
		}
	}
	return false
}

// family is what differs between IPv4 and IPv6 in our table.
type family struct {
	v6     bool
	digit  string // end of set names
	ip     string // the word of nft's header matches
	typ    string // nft's address type
	multi  netip.Prefix
	hostLo netip.Prefix
}

var (
	//nolint:gochecknoglobals // constants that Go cannot express
	four = family{
		digit: "4", ip: "ip", typ: "ipv4_addr",
		multi: netip.MustParsePrefix("224.0.0.0/4"), hostLo: netip.MustParsePrefix("127.0.0.0/8"),
	}
	//nolint:gochecknoglobals // constants that Go cannot express
	six = family{
		v6: true, digit: "6", ip: "ip6", typ: "ipv6_addr",
		multi: netip.MustParsePrefix("ff00::/8"), hostLo: netip.MustParsePrefix("::1/128"),
	}
)

func familyOf(a netip.Addr) family {
	if a.Is6() {
		return six
	}
	return four
}

func (f family) port(p Port, pod netip.Addr) plan.Member {
	value := fmt.Sprintf("%s . %d", pod, p.Port)
	if p.any() {
		return f.member(setAny, fmt.Sprintf("%s . %d", p.Proto, p.HostPort), value)
	}
	return f.member(setPorts, fmt.Sprintf("%s . %s . %d", p.HostIP, p.Proto, p.HostPort), value)
}

func (f family) member(set, elem, value string) plan.Member {
	return plan.Member{Family: "inet", Table: Table, Set: set + f.digit, Elem: elem, Value: value}
}
