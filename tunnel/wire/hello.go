// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Hello sends datagrams without content, by which the gateways of a link hear
// each other. The zero Hello is ready to use, by one goroutine; its sockets
// stay open until Close, so that each link has one entry in the connection
// table and not one for every hello.
type Hello struct {
	four, six net.PacketConn
}

// Send sends one datagram to each address, from the address of the device the
// route leads to. It goes on past failures and joins them.
func (h *Hello) Send(ctx context.Context, to []netip.AddrPort) error {
	var errs []error
	for _, a := range to {
		conn, err := h.conn(ctx, a.Addr().Is6())
		if err == nil {
			_, err = conn.WriteTo(nil, net.UDPAddrFromAddrPort(a))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("say hello to %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

func (h *Hello) conn(ctx context.Context, v6 bool) (net.PacketConn, error) {
	conn, network := &h.four, "udp4"
	if v6 {
		conn, network = &h.six, "udp6"
	}
	if *conn == nil {
		c, err := (&net.ListenConfig{}).ListenPacket(ctx, network, ":0")
		if err != nil {
			return nil, err
		}
		*conn = c
	}
	return *conn, nil
}

// Close closes the sockets.
func (h *Hello) Close() error {
	var errs []error
	for _, c := range []net.PacketConn{h.four, h.six} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
