// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
)

// account is how to reach the API server, and as whom. It does not wait for
// it: the token and the address come from the pod, and the server may be away.
func account(c Config) (*rest.Config, error) {
	cfg, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("find the api server (magpie-agent runs as a pod of the chart's DaemonSet): %w", err)
	}
	if c.APIServer != "" {
		cfg.Host = c.APIServer
	}
	return cfg, nil
}

// lookAround is what the node itself says: where its traffic leaves, and the
// MACs of the VTEPs it has. preferred are the addresses that may carry the
// overlay, best first.
func (a *agent) lookAround(preferred []netip.Addr) (fleet.Host, error) {
	h := fleet.Host{LinkKey: a.keys.Public(), Now: time.Now()} //nolint:forbidigo // where time enters
	var errs []error
	get := func(v6 bool) fleet.Underlay {
		u, err := a.host.Underlay(v6, preferred)
		errs = append(errs, err)
		return fleet.Underlay(u)
	}
	h.Underlay4, h.Underlay6 = get(false), get(true)
	mac := func(name string) string {
		m, err := a.host.MAC(name)
		errs = append(errs, err)
		return m
	}
	// What flanneld left is taken over with its MAC: peers know it.
	vni := strconv.Itoa(a.config.VNI)
	h.VTEPMAC = cmp.Or(mac(api.DeviceVXLAN4), mac("flannel."+vni))
	h.VTEPMAC6 = cmp.Or(mac(api.DeviceVXLAN6), mac("flannel-v6."+vni))
	h.Heard = a.heard()
	return h, errors.Join(errs...)
}

// heard is where the peers of the links were last heard: now, else when there
// last was a View. A device that is just being made knows no peer yet.
func (a *agent) heard() []fleet.Heard {
	at := map[string]netip.AddrPort{}
	if v, err := a.source.Read(); err == nil {
		for _, h := range v.Self.Heard {
			at[h.PublicKey] = h.At
		}
	}
	peers, _, err := a.sessions()
	if err != nil {
		a.log.Debug("peers cannot be read now", "err", err)
	}
	for _, p := range peers {
		if p.endpoint.IsValid() {
			at[p.key] = p.endpoint
		}
	}
	out := make([]fleet.Heard, 0, len(at))
	for key, where := range at {
		out = append(out, fleet.Heard{PublicKey: key, At: where})
	}
	return out
}

// underlays are the addresses that may carry the overlay, best first: what the
// user wrote in Flannel's annotations, then the node's internal addresses.
func underlays(node *corev1.Node) []netip.Addr {
	if node == nil {
		return nil
	}
	var out []netip.Addr
	add := func(text string) {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr)
		}
	}
	add(node.Annotations[api.FlannelNodePublicIP])
	add(node.Annotations[api.FlannelNodePublicIPv6])
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			add(address.Address)
		}
	}
	return out
}

// sessions returns the WireGuard sessions of this node and what speaks
// WireGuard on it; both empty if it is no gateway.
func (a *agent) sessions() (peers []peer, driver string, err error) {
	state, err := a.host.LinkState(api.DeviceMesh)
	if errors.Is(err, kernel.ErrNoDevice) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	for _, p := range state.Peers {
		peers = append(peers, peer{key: p.PublicKey, endpoint: p.Endpoint, handshake: p.LastHandshake, rx: p.Rx})
	}
	if state.Userspace {
		return peers, "userspace", nil
	}
	return peers, "kernel", nil
}
