// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
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
	listener, err := listenConfig(filepath.Join(configDir, name+".sock"))
	if err != nil {
		return nil, fmt.Errorf("listen for configuration of %s: %w", name, err)
	}
	tunnel, err := tun.CreateTUN(name, mtu)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create tun device %s: %w", name, err), listener.Close())
	}
	log := u.Log.With("device", name)
	wrapped, bind := bounded(tunnel, conn.NewDefaultBind())
	dev := device.NewDevice(wrapped, bind, &device.Logger{
		Verbosef: func(format string, args ...any) { log.Debug("wireguard", "text", fmt.Sprintf(format, args...)) },
		Errorf:   func(format string, args ...any) { log.Warn("wireguard", "text", fmt.Sprintf(format, args...)) },
	})
	r := &running{dev: dev, listener: listener}
	go r.configure()
	return r, nil
}

// configDir is where wgctrl looks for the sockets of devices that are not in
// the kernel. Source: wgctrl internal/wguser/conn_unix.go.
const configDir = "/var/run/wireguard"

// listenConfig listens on the socket at path, which only root may open. A
// socket that nobody serves any more is taken over. The listener of
// wireguard-go's package ipc would do, but it needs an inotify instance for
// each device, and a node with many containers has none left.
func listenConfig(path string) (net.Listener, error) {
	if err := os.MkdirAll(configDir, 0o700); err != nil {
		return nil, err
	}
	var d net.Dialer
	if c, err := d.DialContext(context.Background(), "unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("another process serves %s", path), c.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
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
