// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/magpie-edge/magpie/api"
)

// The result in the form of CNI 1.1.0. The library's own types hold net.IP,
// which planners do not use; the library converts to older versions.
type (
	result struct {
		CNIVersion string        `json:"cniVersion"`
		Interfaces []resultIface `json:"interfaces"`
		IPs        []resultIP    `json:"ips"`
		Routes     []resultRoute `json:"routes"`
		DNS        types.DNS     `json:"dns,omitzero"`
	}
	resultIface struct {
		Name    string `json:"name"`
		MAC     string `json:"mac,omitempty"`
		MTU     int    `json:"mtu,omitempty"`
		Sandbox string `json:"sandbox,omitempty"`
	}
	resultIP struct {
		Address   netip.Prefix `json:"address"`
		Gateway   netip.Addr   `json:"gateway"`
		Interface int          `json:"interface"` // index into Interfaces
	}
	resultRoute struct {
		Dst netip.Prefix `json:"dst"`
		GW  netip.Addr   `json:"gw"`
	}
)

// resultOf renders what ADD made, in the version asked for.
func resultOf(pod Pod, mtu int, dns types.DNS, version string) (json.RawMessage, error) {
	const podSide = 1
	r := result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []resultIface{
			{Name: pod.HostDevice(), MAC: pod.hostMAC(), MTU: mtu},
			{Name: pod.IfName, MAC: pod.podMAC(), MTU: mtu, Sandbox: pod.NetNS},
		},
		DNS: dns,
	}
	for _, a := range pod.Addrs {
		gateway, everywhere := netip.MustParseAddr(api.PodGateway4), netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if a.Is6() {
			gateway, everywhere = netip.MustParseAddr(api.PodGateway6), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		r.IPs = append(r.IPs, resultIP{Address: netip.PrefixFrom(a, a.BitLen()), Gateway: gateway, Interface: podSide})
		r.Routes = append(r.Routes, resultRoute{Dst: everywhere, GW: gateway})
	}
	b, err := json.Marshal(r)
	if err != nil || version == r.CNIVersion {
		return b, err
	}
	full, err := create.CreateFromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("read own result: %w", err)
	}
	asked, err := full.GetAsVersion(version)
	if err != nil {
		return nil, fmt.Errorf("convert result to CNI %s: %w", version, err)
	}
	return json.Marshal(asked)
}

// previous reads the addresses that a prevResult gives to the interface of our
// attachment, whatever its version.
func previous(raw json.RawMessage, version string) (result, error) {
	var out result
	old, err := create.Create(version, raw)
	if err != nil {
		return out, fmt.Errorf("decode prevResult: %w", err)
	}
	now, err := old.GetAsVersion(current.ImplementedSpecVersion)
	if err != nil {
		return out, fmt.Errorf("convert prevResult: %w", err)
	}
	b, err := json.Marshal(now)
	if err != nil {
		return out, fmt.Errorf("encode prevResult: %w", err)
	}
	// Other plugins may have added addresses and interfaces without all the
	// fields of ours, so only what we compare is read.
	var loose struct {
		Interfaces []resultIface `json:"interfaces"`
		IPs        []struct {
			Address   netip.Prefix `json:"address"`
			Interface *int         `json:"interface"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(b, &loose); err != nil {
		return out, fmt.Errorf("read prevResult: %w", err)
	}
	out.Interfaces = loose.Interfaces
	for _, ip := range loose.IPs {
		at := -1
		if ip.Interface != nil {
			at = *ip.Interface
		}
		out.IPs = append(out.IPs, resultIP{Address: ip.Address, Interface: at})
	}
	return out, nil
}

// agrees reports why a prevResult is not about the pod of the ledger, or nil.
func (r result) agrees(pod Pod) error {
	at := slices.IndexFunc(r.Interfaces, func(i resultIface) bool {
		return i.Name == pod.IfName && (i.Sandbox == "" || i.Sandbox == pod.NetNS)
	})
	if at < 0 {
		return fmt.Errorf("prevResult has no interface %s in %s", pod.IfName, pod.NetNS)
	}
	for _, a := range pod.Addrs {
		if !slices.ContainsFunc(r.IPs, func(ip resultIP) bool { return ip.Address.Addr().Unmap() == a }) {
			return fmt.Errorf("prevResult lacks %s, which the ledger holds for this container", a)
		}
	}
	for _, ip := range r.IPs {
		if ip.Interface == at && !slices.Contains(pod.Addrs, ip.Address.Addr().Unmap()) {
			return fmt.Errorf("prevResult gives %s to %s, which the ledger does not hold", ip.Address.Addr(), pod.IfName)
		}
	}
	return nil
}
