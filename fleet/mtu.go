// SPDX-License-Identifier: Apache-2.0

package fleet

import "github.com/magpie-edge/magpie/api"

// OverlayMTU returns the MTU in bytes of the overlay of one family: what the
// underlay carries less the encapsulation, or what the operator set if that is
// less. It is 0 when there can be no such overlay: the node has no underlay of
// the family, or one that carries too little for IPv6.
//
// Flannel subtracts 50 for both families and so makes its IPv6 pods 20 bytes
// too large for the kernel's device.
func (v View) OverlayMTU(v6 bool) int {
	under, overhead := v.Self.Underlay4, api.OverheadVXLAN4
	if v6 {
		under, overhead = v.Self.Underlay6, api.OverheadVXLAN6
	}
	if !under.OK() {
		return 0
	}
	mtu := under.MTU - overhead
	if set := v.Settings.MTU; set > 0 {
		mtu = min(mtu, set)
	}
	if v6 && mtu < api.MTUMin {
		return 0
	}
	return max(mtu, 0)
}

// PodMTU returns the MTU in bytes for the pods of this node, the one answer to
// that question: the least of the overlays that carry them, because a pod has
// one interface for both families. It is 0 when there is no overlay.
//
// An operator who asks for more than the underlay carries gets what it
// carries: packets that are too large would vanish (vxlan.NoteMTUClamped). A
// node with an IPv6 pod CIDR never gets less than IPv6's minimum, below which
// the kernel takes no address; it then relies on path MTU discovery for IPv4.
func (v View) PodMTU() int {
	mtu := v.OverlayMTU(false)
	if six := v.OverlayMTU(true); six > 0 && (mtu == 0 || six < mtu) {
		mtu = six
	}
	if _, ok := v.Self.PodCIDR(true); ok && mtu > 0 {
		mtu = max(mtu, api.MTUMin)
	}
	return mtu
}

// LinkMTU returns the largest packet in bytes that a WireGuard device of this
// node carries: what the smaller of its underlays carries less the overhead.
func (v View) LinkMTU() int {
	under := v.Self.Underlay4.MTU
	if six := v.Self.Underlay6.MTU; six > 0 && (under == 0 || six < under) {
		under = six
	}
	return min(max(under-api.OverheadWireGuard, api.MTUMin), api.MTUMax)
}
