// SPDX-License-Identifier: Apache-2.0

package plan

import "net/netip"

// Plan is every kernel object one owner wants, and why some are missing.
// What is absent from a plan must not exist. The zero Plan wants nothing:
// applying it is how clean-up works.
type Plan struct {
	Sysctls []Sysctl
	Devices []Device
	Addrs   []Addr
	Neighs  []Neigh
	FDBs    []FDB
	Routes  []Route
	Rules   []Rule
	Shapes  []Shape   // traffic control on a device
	Peers   []Peer    // WireGuard peers
	Allowed []Allowed // WireGuard allowed IPs
	Tables  []Table   // nftables tables, each rendered whole
	Members []Member  // map and set elements of those tables that change often
	Accepts []Accept  // accept rules kept in the host's own iptables chains
	// The fast path, past the host's IP stack: see docs/adr/0019-fast-path.md.
	Programs  []Program
	Shortcuts []Shortcut
	Notes     []Note // why something expected is not here: printed, tested, never applied
}

// Owner is the mark that tells our kernel objects from everybody else's.
// Ownership is in the object, never in memory, so that a restarted process
// finds what the last one left.
type Owner struct {
	// Name marks devices (alias "magpie:NAME"), nftables tables (named
	// "magpie-NAME" or "magpie-NAME-…") and iptables rules (comment
	// "magpie:NAME"). Lower-case letters only.
	Name string
	// Proto marks routes and rules (rtnetlink protocol). Unique per owner.
	Proto uint8
}

// Kind is the type of a Device, in the kernel's own words.
type Kind string

// The kinds of device we make.
const (
	Veth      Kind = "veth"
	VXLAN     Kind = "vxlan"
	WireGuard Kind = "wireguard" // kernel module or wireguard-go on a TUN: the door decides
	IFB       Kind = "ifb"
)

// Device is one network interface. A veth pair is one Device: NS and Name are
// the host side, PeerNS and PeerName the pod side.
type Device struct {
	NS   string // network namespace path; "" is the host
	Name string
	Kind Kind
	MAC  string // "02:…" lower case; "" lets the kernel choose and never compares
	MTU  int    // bytes; 0 leaves the kernel's default and never compares

	// Veth only.
	PeerNS   string
	PeerName string
	PeerMAC  string // "" lets the kernel choose

	// VXLAN only.
	VNI      int
	Port     int        // UDP destination port
	Local    netip.Addr // source address of the outer packet
	Underlay string     // device the outer packet leaves by

	// WireGuard only.
	ListenPort int
	PublicKey  string // base64; the door holds the private key that belongs to it
}

// Addr is one address on a device.
type Addr struct {
	NS     string
	Dev    string
	Prefix netip.Prefix // address with prefix length, not masked
}

// Neigh is one permanent neighbour (ARP or NDP) entry.
type Neigh struct {
	NS  string
	Dev string
	IP  netip.Addr
	MAC string
}

// FDB is one permanent forwarding entry of a VXLAN device: frames for MAC go
// to the VTEP at Dst.
type FDB struct {
	Dev string
	MAC string
	Dst netip.Addr
}

// Route is one unicast route in a table this system owns a part of.
type Route struct {
	NS     string // "" is the host, otherwise the pod's namespace
	Table  int    // 0 means the main table (254)
	Dst    netip.Prefix
	Via    netip.Addr // zero: on-link
	Dev    string
	Src    netip.Addr // preferred source for packets of the host itself; zero: none
	MTU    int        // bytes; 0 leaves the link's own
	OnLink bool       // Via is reachable although no route says so
}

// Rule is one policy routing rule.
type Rule struct {
	V6       bool
	Priority int
	From, To netip.Prefix // zero: any
	Mark     uint32
	Mask     uint32
	Table    int
}

// Shape is one rate limit: a token bucket at the root of a device, or a
// redirect of everything that enters a device to an ifb.
type Shape struct {
	NS       string
	Dev      string
	Rate     uint64 // bits per second; 0 with Redirect set
	Burst    uint64 // bits
	Redirect string // name of the ifb; "" for a token bucket
}

// Peer is one WireGuard peer of a device of ours.
type Peer struct {
	Dev          string
	PublicKey    string         // base64
	PresharedRef string         // name under which the door derives the pre-shared key; "" for none
	Endpoint     netip.AddrPort // zero: the peer dials us and WireGuard learns where it is
	Keepalive    int            // seconds; 0 is off
	// Last is where the peer was heard before this process began; zero: not
	// known. It is used when the peer is made and never compared afterwards,
	// because WireGuard follows a peer that moves.
	Last netip.AddrPort
}

// Allowed is one allowed IP of a device: packets to Prefix go to the peer, and
// packets from Prefix are accepted from nobody else. Its identity is Dev and
// Prefix, because WireGuard moves a prefix between peers by itself.
type Allowed struct {
	Dev    string
	Prefix netip.Prefix // masked
	Peer   string       // public key, base64
}

// Table is one nftables table, swapped whole in one transaction.
//
// Body holds one object a line, in nft's own words without family and table:
//
//	add set cluster { type ipv4_addr ; flags interval ; }
//	add chain postrouting { type nat hook postrouting priority 100 ; }
//	add rule postrouting ip saddr @pods ip daddr != @cluster masquerade fully-random
//	add element cluster { 10.42.0.0/16 }
//
// Elements listed in Body are fixed; those that change often are Members.
type Table struct {
	Family string // "ip", "ip6" or "inet"
	Name   string // begins with api.TablePrefix + Owner.Name
	Body   string
}

// Member is one element of a set or map of one of our tables.
type Member struct {
	Family string
	Table  string
	Set    string
	Elem   string // as nft writes it: "10.42.1.5", "tcp . 8080"
	Value  string // map value as nft writes it: "10.42.1.5 . 80"; "" for a set
}

// Accept is one accept rule in one of the host's own iptables chains, kept
// there because only an accept in that very chain survives a DROP policy.
type Accept struct {
	V6    bool
	Chain string // of table filter: "FORWARD"
	Match string // iptables arguments, space-separated: "-s 10.42.0.0/16"
}

// Names of the programs.
const (
	// FromOverlay takes what comes out of a VXLAN device straight into pods. It
	// also opens the device for FromPod.
	FromOverlay = "from-overlay"
	// FromPod, at the host's end of a pod's veth pair, takes what the pod sends
	// straight into the overlay or into another pod of the node.
	FromPod = "from-pod"
)

// Program is one eBPF program on what comes in by a device. It passes on the
// packets of connections that conntrack knows as established and untranslated,
// if their pods have a Shortcut, and leaves all others to the kernel.
type Program struct {
	Dev  string
	Name string
}

// Shortcut says where the programs find a pod of this node. It names a device
// that is there: the door keeps its index, which no other device ever gets.
type Shortcut struct {
	Addr netip.Addr
	Dev  string // the host's end of the pod's veth pair; see Gone
	MAC  string // of the pod's end
	From string // MAC of the host's end
}

// Gone is what a door says in place of the device of a Shortcut that leads to
// none, so that it differs from any wanted one.
const Gone = "gone"

// Sysctl is one kernel setting. Settings are never put back: others may rely
// on them, and the value before us is not known after a restart.
type Sysctl struct {
	NS    string
	Name  string // slash form: "net/ipv4/ip_forward"; device names may hold dots
	Value string
}

// Note says why something that a reader would expect is not in the plan.
type Note struct {
	Subject string // what it is about: "node b-1", "domain shop-a"
	Code    string // constant, kebab case; a metric label and a runbook's name
	Text    string // a sentence that says what to do
}
