// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// patience bounds one exchange.
const patience = 3 * time.Second

// Echo serves TCP and UDP echo on addr ("10.42.1.5:7") in the namespace at
// path until the test ends.
func Echo(tb testing.TB, path, addr string) {
	tb.Helper()
	var l net.Listener
	var p net.PacketConn
	In(tb, path, func() (err error) {
		if l, err = net.Listen("tcp", addr); err != nil { //nolint:noctx // closed by the test
			return err
		}
		p, err = net.ListenPacket("udp", addr) //nolint:noctx // closed by the test
		return err
	})
	tb.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }() //nolint:errcheck // the caller sees it
		}
	}()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			p.WriteTo(buf[:n], from) //nolint:errcheck // the caller sees it
		}
	}()
}

// Ask sends n bytes from the namespace at path to an Echo and returns nil when
// they came back within three seconds, and the address they were sent from.
// network is "tcp" or "udp".
func Ask(tb testing.TB, path, network, addr string, n int) (from string, err error) {
	tb.Helper()
	var c net.Conn
	In(tb, path, func() error {
		d := net.Dialer{Timeout: patience}
		c, err = d.DialContext(tb.Context(), network, addr)
		return nil
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	go c.Write(make([]byte, n)) //nolint:errcheck // the read sees it
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		return "", fmt.Errorf("%s to %s, %d bytes: %w", network, addr, n, err)
	}
	return c.LocalAddr().String(), nil
}
