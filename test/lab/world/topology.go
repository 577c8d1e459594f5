// SPDX-License-Identifier: Apache-2.0

package world

import "slices"

// NAT is what a site's router does with traffic towards the internet.
type NAT string

// The kinds of NAT in the world.
const (
	OneToOne  NAT = "one-to-one" // EIPs: each machine has a public address, see Host.EIP
	FullCone  NAT = "full-cone"
	Symmetric NAT = "symmetric"
	PortCone  NAT = "port-restricted" // plain masquerade behind a firewall
)

// Site is a network domain: a router and the machines behind it.
type Site struct {
	Name   string
	NAT    NAT
	LAN    string // IPv4 prefix length of the LAN: "/24"
	GW     string // the router's address on the LAN
	GW6    string // its ULA; the prefix is /64
	WAN    string // the router's address on the internet, in a /30
	WANGW  string // the internet's end of that
	Block  string // public addresses routed to the site, "" if none
	Public string // address others see; of the EIP site, that of its router
}

// Router is the name of the site's router.
func (s Site) Router() string { return s.Name + "-gw" }

// Host is a machine on a site's LAN.
type Host struct {
	Name string
	Site string
	IP   string
	IP6  string // ULA
	EIP  string // public address, one-to-one; "" if none
	Type string // control-plane, cloud, edge
}

// Names of machines that are in no site.
const (
	Internet     = "internet"
	Outside      = "outside"
	ControlPlane = "control-plane"
)

// Addresses of the machine in the internet that is part of nothing. Two, so
// that a test can tell NAT kinds apart.
const (
	OutsideIP  = "203.0.113.250"
	OutsideIP2 = "203.0.113.251"
	outsideGW  = "203.0.113.249"
)

// Private line, Express Connect: ends at the VPC's and the plant's routers.
const (
	lineVPC   = "10.255.0.1"
	linePlant = "10.255.0.2"
)

// Sites of the world. shop-a and shop-b have the same addresses on purpose,
// IPv6 included.
func Sites() []Site {
	return []Site{
		{
			Name: "vpc", NAT: OneToOne, LAN: "/16", GW: "10.0.0.1", GW6: "fd00:10::1",
			WAN: "203.0.113.2", WANGW: "203.0.113.1", Block: "203.0.113.96/27", Public: "203.0.113.2",
		},
		{
			Name: "shop-a", NAT: FullCone, LAN: "/24", GW: "192.168.1.1", GW6: "fd00:192:168:1::1",
			WAN: "198.51.100.2", WANGW: "198.51.100.1", Public: "198.51.100.2",
		},
		{
			Name: "shop-b", NAT: Symmetric, LAN: "/24", GW: "192.168.1.1", GW6: "fd00:192:168:1::1",
			WAN: "198.51.100.6", WANGW: "198.51.100.5", Public: "198.51.100.6",
		},
		{
			Name: "plant", NAT: PortCone, LAN: "/24", GW: "172.20.0.1", GW6: "fd00:172:20::1",
			WAN: "198.51.100.10", WANGW: "198.51.100.9", Public: "198.51.100.10",
		},
	}
}

// Hosts of the world.
func Hosts() []Host {
	return []Host{
		{Name: ControlPlane, Site: "vpc", IP: "10.0.0.10", IP6: "fd00:10::10", EIP: "203.0.113.100", Type: "control-plane"},
		{Name: "cloud-1", Site: "vpc", IP: "10.0.0.11", IP6: "fd00:10::11", EIP: "203.0.113.101", Type: "cloud"},
		{Name: "cloud-2", Site: "vpc", IP: "10.0.0.12", IP6: "fd00:10::12", EIP: "203.0.113.102", Type: "cloud"},
		{Name: "a-1", Site: "shop-a", IP: "192.168.1.11", IP6: "fd00:192:168:1::11", Type: "edge"},
		{Name: "a-2", Site: "shop-a", IP: "192.168.1.12", IP6: "fd00:192:168:1::12", Type: "edge"},
		{Name: "b-1", Site: "shop-b", IP: "192.168.1.11", IP6: "fd00:192:168:1::11", Type: "edge"},
		{Name: "c-1", Site: "plant", IP: "172.20.0.11", IP6: "fd00:172:20::11", Type: "edge"},
	}
}

// Machines are the names of all machines of the world, routers first.
func Machines() []string {
	names := []string{Internet, Outside}
	for _, s := range Sites() {
		names = append(names, s.Router())
	}
	for _, h := range Hosts() {
		names = append(names, h.Name)
	}
	return names
}

// FindSite returns the site of that name.
func FindSite(name string) (Site, bool) {
	all := Sites()
	i := slices.IndexFunc(all, func(s Site) bool { return s.Name == name })
	if i < 0 {
		return Site{}, false
	}
	return all[i], true
}

// FindHost returns the host of that name.
func FindHost(name string) (Host, bool) {
	all := Hosts()
	i := slices.IndexFunc(all, func(h Host) bool { return h.Name == name })
	if i < 0 {
		return Host{}, false
	}
	return all[i], true
}

// hostsOf are the hosts of a site.
func hostsOf(site string) []Host {
	return slices.DeleteFunc(Hosts(), func(h Host) bool { return h.Site != site })
}
