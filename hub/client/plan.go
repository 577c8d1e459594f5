// SPDX-License-Identifier: Apache-2.0

package client

import (
	"net/netip"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Owner marks what this package plans.
var Owner = plan.Owner{Name: "hub", Proto: api.ProtoHub}

// Plan returns the address at which pods of the node reach its hub. It depends
// on nothing but the setting: a node that is in no domain yet has Services, too.
func Plan(v fleet.View) (plan.Plan, error) {
	if !v.Settings.Hub {
		return plan.Plan{}, nil
	}
	return plan.Plan{
		Devices: []plan.Device{{Name: api.DeviceHub, Kind: plan.Veth, PeerName: api.DeviceHubPeer}},
		Addrs:   []plan.Addr{{Dev: api.DeviceHub, Prefix: netip.PrefixFrom(address(), 32)}},
	}, nil
}

// Addrs are those on which the hub listens and for which its certificate is.
func Addrs() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr(api.HubLoopback), address()}
}

func address() netip.Addr { return netip.MustParseAddr(api.HubAddress) }
