// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"

	"github.com/magpie-edge/magpie/api"
)

// Key is the identity of an attachment: one interface of one container.
type Key struct {
	Container string `json:"container"` // CNI_CONTAINERID: the sandbox, not a container in it
	IfName    string `json:"ifName"`    // CNI_IFNAME, "eth0" as a rule
}

func (k Key) String() string { return k.Container + "/" + k.IfName }

// Pod is one attachment with everything its plumbing follows from. It is what
// the ledger keeps, so that an agent that restarts can repair the pod.
type Pod struct {
	Key
	NetNS     string       `json:"netns"`               // path of the network namespace
	Network   string       `json:"network,omitempty"`   // name in the network configuration
	Namespace string       `json:"namespace,omitempty"` // Kubernetes namespace, for people
	Name      string       `json:"name,omitempty"`      // Kubernetes name, for people
	Addrs     []netip.Addr `json:"addrs"`               // at most one per family
	MAC       string       `json:"mac,omitempty"`       // of the pod's end; "" derives it from Key
	Ports     []Port       `json:"ports,omitempty"`
	Ingress   Rate         `json:"ingress,omitzero"` // towards the pod
	Egress    Rate         `json:"egress,omitzero"`  // from the pod
}

// Port is one hostPort.
type Port struct {
	Proto    string     `json:"proto"` // "tcp", "udp" or "sctp"
	HostIP   netip.Addr `json:"hostIP,omitzero"`
	HostPort uint16     `json:"hostPort"`
	Port     uint16     `json:"port"` // in the pod
}

// any reports whether the port is open on every address of the host.
func (p Port) any() bool { return !p.HostIP.IsValid() || p.HostIP.IsUnspecified() }

// serves reports whether the port applies to pod addresses of the family. No
// host IP means both families, 0.0.0.0 means IPv4 and :: means IPv6.
func (p Port) serves(v6 bool) bool { return !p.HostIP.IsValid() || p.HostIP.Is6() == v6 }

// clashes reports whether both cannot be open on one host.
func (p Port) clashes(q Port) bool {
	if p.Proto != q.Proto || p.HostPort != q.HostPort {
		return false
	}
	for _, v6 := range []bool{false, true} {
		if p.serves(v6) && q.serves(v6) && p.any() == q.any() && (p.any() || p.HostIP == q.HostIP) {
			return true
		}
	}
	return false
}

func (p Port) String() string {
	host := "*"
	if p.HostIP.IsValid() {
		host = p.HostIP.String()
	}
	return fmt.Sprintf("%s %s:%d", p.Proto, host, p.HostPort)
}

// Rate is one direction's bandwidth. The zero Rate does not limit.
type Rate struct {
	Rate  uint64 `json:"rate"`            // bits per second
	Burst uint64 `json:"burst,omitempty"` // bits; 0 lets us choose
}

// HostDevice is the name of the host's end of the veth pair. It follows from
// the key alone, so that a DEL finds the device even with an empty ledger.
func (k Key) HostDevice() string { return api.DevicePodPrefix + k.hash("dev") }

// ShapeDevice is the name of the ifb device that shapes what the pod sends.
func (k Key) ShapeDevice() string { return api.DeviceShapePrefix + k.hash("dev") }

// hash is eleven characters: with a prefix of four it fits IFNAMSIZ.
func (k Key) hash(purpose string) string {
	const chars, bytes = 11, 7
	sum := k.sum(purpose)
	return lower.EncodeToString(sum[:bytes])[:chars]
}

// lower is base32 as device names have it.
var lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding) //nolint:gochecknoglobals // a constant that Go cannot express

func (k Key) sum(purpose string) [32]byte {
	return sha256.Sum256([]byte("magpie cni " + purpose + "\x00" + k.Container + "\x00" + k.IfName))
}

// mac derives a locally administered unicast MAC. It must be known before the
// device exists, because the neighbour entries at both ends name it.
func (k Key) mac(purpose string) string {
	s := k.sum(purpose)
	s[0] = s[0]&^0x01 | 0x02
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", s[0], s[1], s[2], s[3], s[4], s[5])
}

func (k Key) hostMAC() string { return k.mac("host mac") }

// podMAC is the MAC of the pod's end.
func (p Pod) podMAC() string {
	if p.MAC != "" {
		return p.MAC
	}
	return p.mac("pod mac")
}

// who names the pod for a person.
func (p Pod) who() string {
	if p.Name == "" {
		return "container " + p.Container
	}
	return "pod " + p.Namespace + "/" + p.Name
}

func (p Pod) has6() bool {
	for _, a := range p.Addrs {
		if a.Is6() {
			return true
		}
	}
	return false
}
