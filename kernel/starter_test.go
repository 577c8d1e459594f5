// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// starter runs wireguard-go in this process. It listens on the configuration
// socket itself: wireguard-go's own listener watches the socket's folder, and
// a busy machine has no watch left.
type starter struct{}

func (starter) Start(name string, mtu int) (io.Closer, error) {
	const folder = "/var/run/wireguard"
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, name+".sock")
	os.Remove(path) // it may not be there
	t, err := tun.CreateTUN(name, mtu)
	if err != nil {
		return nil, err
	}
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	l, err := net.Listen("unix", path) //nolint:noctx // ends with Close
	if err != nil {
		d.Close()
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.IpcHandle(c)
		}
	}()
	go func() { // the device of a TUN that somebody deleted serves no more
		<-d.Wait()
		l.Close() // a second time is fine
	}()
	return running{d, l}, nil
}

type running struct {
	d *device.Device
	l net.Listener
}

func (r running) Close() error {
	r.d.Close()
	return r.l.Close()
}
