// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// pod reads what the runtime wants the pod to be, without addresses.
func (r *request) pod() (Pod, *Error) {
	p := Pod{
		Key: r.key, NetNS: r.netns, Network: r.config.Name,
		Namespace: r.args["K8S_POD_NAMESPACE"], Name: r.args["K8S_POD_NAME"],
	}
	b := r.config.RuntimeConfig.Bandwidth
	p.Ingress = Rate{b.IngressRate, b.IngressBurst}
	p.Egress = Rate{b.EgressRate, b.EgressBurst}
	mac := strings.ToLower(r.config.RuntimeConfig.MAC)
	if mac == "" {
		mac = strings.ToLower(r.args["MAC"])
	}
	if mac != "" && !macForm.MatchString(mac) {
		return p, refuse(types.ErrInvalidNetworkConfig, "mac %q is not a unicast Ethernet address like 02:00:00:00:00:01", mac)
	}
	p.MAC = mac
	for _, m := range r.config.RuntimeConfig.PortMappings {
		if m.HostPort == 0 {
			continue // a containerPort that nobody wants on the host
		}
		port, err := m.port()
		if err != nil {
			return p, err
		}
		if slices.ContainsFunc(p.Ports, port.clashes) {
			return p, refuse(types.ErrInvalidNetworkConfig, "hostPort %s is asked for twice by one pod", port)
		}
		p.Ports = append(p.Ports, port)
	}
	return p, nil
}

// macForm is a unicast MAC: the lowest bit of the first byte is zero.
var macForm = regexp.MustCompile(`^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$`) //nolint:gochecknoglobals // compiled once

func (m portMapping) port() (Port, *Error) {
	out := Port{Proto: strings.ToLower(m.Protocol)}
	if out.Proto == "" {
		out.Proto = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, out.Proto) {
		return out, refuse(types.ErrUnsupportedField, "portMappings.protocol %q is not supported; use tcp, udp or sctp", m.Protocol)
	}
	const portMax = 65535
	if m.HostPort < 1 || m.HostPort > portMax || m.ContainerPort < 1 || m.ContainerPort > portMax {
		return out, refuse(types.ErrInvalidNetworkConfig,
			"hostPort %d to containerPort %d: ports are 1 to 65535", m.HostPort, m.ContainerPort)
	}
	out.HostPort, out.Port = uint16(m.HostPort), uint16(m.ContainerPort)
	if m.HostIP == "" {
		return out, nil
	}
	ip, err := netip.ParseAddr(m.HostIP)
	if err != nil {
		return out, refuse(types.ErrInvalidNetworkConfig, "hostIP %q of hostPort %d is not an address", m.HostIP, m.HostPort).because(err)
	}
	out.HostIP = ip.Unmap().WithZone("")
	if out.HostIP.Is6() && out.HostIP.IsLoopback() {
		return out, refuse(types.ErrInvalidNetworkConfig,
			"hostPort %d on ::1 cannot work: Linux never forwards to or from ::1; use 127.0.0.1 or a node address", m.HostPort)
	}
	return out, nil
}

// wish reads which addresses the runtime wants, out of the node's CIDRs.
func (r *request) wish(cidrs []netip.Prefix) (Wish, *Error) {
	w := Wish{CIDRs: cidrs}
	asked := slices.Concat(r.config.RuntimeConfig.IPs, r.config.Args.CNI.IPs)
	if ip := r.args["IP"]; ip != "" {
		asked = append(asked, strings.Split(ip, ",")...)
	}
	for _, text := range asked {
		if err := w.address(text); err != nil {
			return w, err
		}
	}
	for _, set := range r.config.RuntimeConfig.IPRanges {
		if err := w.set(set); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *Wish) address(text string) *Error {
	host, _, _ := strings.Cut(strings.TrimSpace(text), "/")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return refuse(types.ErrInvalidNetworkConfig, "the asked address %q is not an address", text).because(err)
	}
	a = a.Unmap()
	if slices.Contains(w.Addrs, a) {
		return nil // said in two places
	}
	if slices.ContainsFunc(w.Addrs, func(b netip.Addr) bool { return a.Is6() == b.Is6() }) {
		return refuse(types.ErrInvalidNetworkConfig, "two addresses of one family are asked for, %v and %s; a pod gets one", w.Addrs, a)
	}
	for _, c := range w.CIDRs {
		if u := usable(c); c.Contains(a) && !a.Less(u.First) && !u.Last.Less(a) {
			w.Addrs = append(w.Addrs, a)
			return nil
		}
	}
	return refuse(types.ErrInvalidNetworkConfig,
		"the asked address %s is not one that this node can give (%s): the pod must run on the node whose pod CIDR holds it", a, list(w.CIDRs))
}

// set adds one set of ipRanges: any of its ranges will do, and one that lies on
// other nodes is skipped.
func (w *Wish) set(entries []rangeEntry) *Error {
	before := len(w.Ranges)
	for _, e := range entries {
		if !e.Subnet.IsValid() {
			return refuse(types.ErrInvalidNetworkConfig, "an entry of ipRanges has no subnet")
		}
		whole := usable(e.Subnet)
		r := Range{First: e.RangeStart, Last: e.RangeEnd}
		if !r.First.IsValid() {
			r.First = whole.First
		}
		if !r.Last.IsValid() {
			r.Last = whole.Last
		}
		if w.reaches(r) {
			w.Ranges = append(w.Ranges, r)
		}
	}
	if len(w.Ranges) == before && len(entries) > 0 {
		return refuse(types.ErrInvalidNetworkConfig,
			"ipRanges %s ... have no address of this node's pod CIDR (%s)", entries[0].Subnet, list(w.CIDRs))
	}
	return nil
}

// reaches reports whether the range has an address that the node may give.
func (w *Wish) reaches(r Range) bool {
	return slices.ContainsFunc(w.CIDRs, func(c netip.Prefix) bool {
		u := usable(c)
		return u.First.Is6() == r.First.Is6() && r.First.Is6() == r.Last.Is6() &&
			!earlier(u.Last, r.Last).Less(later(u.First, r.First))
	})
}

func list(ps []netip.Prefix) string {
	if len(ps) == 0 {
		return "none yet"
	}
	var words []string
	for _, p := range ps {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}
