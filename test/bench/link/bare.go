// SPDX-License-Identifier: Apache-2.0

package link

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/mesh"
)

// bareDevice is the name of the bare pair's devices.
const bareDevice = "wg0"

// Bare is the role of one end of the bare pair.
func Bare(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	var e end
	if err := json.Unmarshal(arg, &e); err != nil {
		return fmt.Errorf("decode end: %w", err)
	}
	t, err := tun.CreateTUN(bareDevice, wireMTU-api.OverheadWireGuard)
	if err != nil {
		return fmt.Errorf("create tun device: %w", err)
	}
	dev := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	defer dev.Close()
	config, err := e.config()
	if err != nil {
		return err
	}
	if err := errors.Join(dev.IpcSet(config), dev.Up(), e.address()); err != nil {
		return fmt.Errorf("configure %s: %w", bareDevice, err)
	}
	fmt.Fprintln(out, "true")
	<-stop
	return nil
}

// config is the configuration in the words of WireGuard's own protocol.
// Source: https://www.wireguard.com/xplatform/.
func (e end) config() (string, error) {
	private, err1 := hexKey(e.Private)
	peer, err2 := hexKey(e.Public[e.other().Number-1])
	text := fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=%s/32\n",
		private, api.PortLinks, peer, e.other().inner())
	if e.Number == 2 {
		text += fmt.Sprintf("endpoint=%s:%d\npersistent_keepalive_interval=%d\n", e.other().addr(), api.PortLinks, mesh.Keepalive)
	}
	return text, errors.Join(err1, err2)
}

func (e end) address() error {
	l, err := netlink.LinkByName(bareDevice)
	if err != nil {
		return fmt.Errorf("find device: %w", err)
	}
	ip := &net.IPNet{IP: e.inner().AsSlice(), Mask: net.CIDRMask(24, 32)}
	return errors.Join(netlink.AddrAdd(l, &netlink.Addr{IPNet: ip}), netlink.LinkSetUp(l))
}

func hexKey(b64 string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return "", fmt.Errorf("decode key: %w", err)
	}
	return hex.EncodeToString(b), nil
}
