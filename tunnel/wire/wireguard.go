// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"io"
	"log/slog"
	"net"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
)

// UserspaceWireGuard starts WireGuard devices that run in this process.
type UserspaceWireGuard struct {
	Log *slog.Logger
}

// Start makes a TUN device of that name and MTU (bytes) in the network
// namespace of the calling thread and runs WireGuard on it. Configuration goes
// through the socket /var/run/wireguard/NAME.sock (wgctrl finds it there).
// Close ends the device and removes it. It fails if the process may not use
// /dev/net/tun, or if another process serves a device of that name.
func (u UserspaceWireGuard) Start(name string, mtu int) (io.Closer, error) {
	socket, err := ipc.UAPIOpen(name)
	if err != nil {
		return nil, fmt.Errorf("open configuration socket of %s: %w", name, err)
	}
	defer socket.Close() // the listener below has its own copy
	tunnel, err := tun.CreateTUN(name, mtu)
	if err != nil {
		return nil, fmt.Errorf("create tun device %s: %w", name, err)
	}
	log := u.Log.With("device", name)
	dev := device.NewDevice(tunnel, conn.NewDefaultBind(), &device.Logger{
		Verbosef: func(format string, args ...any) { log.Debug("wireguard", "text", fmt.Sprintf(format, args...)) },
		Errorf:   func(format string, args ...any) { log.Warn("wireguard", "text", fmt.Sprintf(format, args...)) },
	})
	listener, err := ipc.UAPIListen(name, socket)
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("listen on configuration socket of %s: %w", name, err)
	}
	r := &running{dev: dev, listener: listener}
	go r.configure()
	return r, nil
}

// running is one device and the listener that configures it.
type running struct {
	dev      *device.Device
	listener net.Listener
}

// configure serves configuration requests until Close.
func (r *running) configure() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.dev.IpcHandle(c)
	}
}

// Close ends the sessions and removes the device.
func (r *running) Close() error {
	err := r.listener.Close()
	r.dev.Close()
	return err
}
