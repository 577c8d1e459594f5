// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// ErrNoDevice says that there is no WireGuard device of that name.
var ErrNoDevice = errors.New("no such device")

// PeerState is one WireGuard peer as the kernel, or the process that stands in
// for it, sees it now.
type PeerState struct {
	PublicKey     string         // base64
	Endpoint      netip.AddrPort // zero until the peer has been heard or is configured
	LastHandshake time.Time      // zero before the first
	Rx, Tx        int64          // bytes since the peer was added
}

// LinkState is one WireGuard device with its peers.
type LinkState struct {
	Userspace bool // wireguard-go, not the kernel
	Peers     []PeerState
}

// LinkState reads the peers of a WireGuard device; ErrNoDevice if there is none
// of that name.
func (h *Host) LinkState(name string) (LinkState, error) {
	h.wg.mu.Lock()
	defer h.wg.mu.Unlock()
	d, err := h.wg.device(name)
	if err != nil {
		return LinkState{}, err
	}
	s := LinkState{Userspace: d.Type == wgtypes.Userspace}
	for _, p := range d.Peers {
		state := PeerState{
			PublicKey: p.PublicKey.String(), Endpoint: addrPort(p.Endpoint), LastHandshake: p.LastHandshakeTime,
			Rx: p.ReceiveBytes, Tx: p.TransmitBytes,
		}
		s.Peers = append(s.Peers, state)
	}
	return s, nil
}
