// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// Serve echoes TCP streams and UDP datagrams on one port until ctx ends. host
// "" means every address of both families. ready is called with the port once
// both sockets are open; port 0 lets the kernel choose.
func Serve(ctx context.Context, host string, port int, ready func(port int)) error {
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	port = tcp.Addr().(*net.TCPAddr).Port
	udp, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), tcp.Close())
	}
	stop := context.AfterFunc(ctx, func() {
		_ = tcp.Close()
		_ = udp.Close()
	})
	defer stop()
	ready(port)
	var wg sync.WaitGroup
	wg.Go(func() { echoDatagrams(udp) })
	for {
		conn, err := tcp.Accept()
		if err != nil {
			break
		}
		done := context.AfterFunc(ctx, func() { _ = conn.Close() })
		wg.Go(func() {
			_, _ = io.Copy(conn, conn) // the peer's end says what went wrong
			_ = conn.Close()
			done()
		})
	}
	_ = udp.Close()
	wg.Wait()
	return ctx.Err()
}

// echoDatagrams sends each datagram back. The socket keeps the kernel's own
// path MTU discovery: an answer too large for the way back is fragmented, so
// that a probe tests the way it was sent and the other prober tests the other.
func echoDatagrams(c net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo(buf[:n], from)
		}
	}
}
