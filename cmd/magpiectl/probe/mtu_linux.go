// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Bytes of the headers before a UDP payload.
// Source: RFC 791 section 3.1, RFC 8200 section 3, RFC 768.
const (
	headers4 = 20 + 8
	headers6 = 40 + 8
)

// FullMTU sends a datagram that must not be fragmented, as large as the
// interface allows, and wants it back. Told that it is too large, by the own
// kernel or by a router's ICMP, it goes on with exactly the size the kernel
// then believes in. mtu is what was carried. If it is lost without a word,
// that is a black hole: err says so and passes is what does get through.
func FullMTU(ctx context.Context, addr string, wait time.Duration) (mtu, passes int, err error) {
	p, err := newPacketer(ctx, addr)
	if err != nil {
		return 0, 0, err
	}
	defer p.conn.Close()
	end := now().Add(wait)
	for now().Before(end) && ctx.Err() == nil {
		size := p.believed()
		switch err = p.echo(size, min(wait, 400*time.Millisecond)); {
		case err == nil:
			return size, 0, nil
		case errors.Is(err, syscall.EMSGSIZE):
			// The kernel knows better now.
			if p.believed() >= size {
				p.size = size - 1
			}
		}
	}
	size := p.believed()
	return 0, p.search(size), fmt.Errorf("a packet of %d bytes is lost and no ICMP says why", size)
}

// packeter sends packets of chosen sizes to one address.
type packeter struct {
	conn    *net.UDPConn
	v6      bool
	size    int // upper bound in bytes
	count   byte
	headers int
}

func newPacketer(ctx context.Context, addr string) (*packeter, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, errors.New(word(err))
	}
	conn := c.(*net.UDPConn)
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	p := &packeter{conn: conn, v6: local.Is6(), headers: headers4}
	level, option, value := syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO
	if p.v6 {
		p.headers = headers6
		level, option, value = syscall.IPPROTO_IPV6, syscall.IPV6_MTU_DISCOVER, syscall.IPV6_PMTUDISC_DO
	}
	if p.size, err = device(local); err == nil {
		p.size = min(p.size, 65535)
		err = p.control(func(fd int) error { return syscall.SetsockoptInt(fd, level, option, value) })
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

func (p *packeter) control(f func(fd int) error) error {
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return inner
}

// believed is the kernel's path MTU, at most the interface's.
func (p *packeter) believed() int {
	size := p.size
	_ = p.control(func(fd int) error {
		level, option := syscall.IPPROTO_IP, syscall.IP_MTU
		if p.v6 {
			level, option = syscall.IPPROTO_IPV6, syscall.IPV6_MTU
		}
		if n, err := syscall.GetsockoptInt(fd, level, option); err == nil && n > 0 {
			size = min(size, n)
		}
		return nil
	})
	return size
}

// echo sends one packet of that size and waits for its return.
func (p *packeter) echo(size int, wait time.Duration) error {
	p.count++
	msg := bytes.Repeat([]byte{p.count}, max(size-p.headers, 1))
	if err := p.conn.SetDeadline(now().Add(wait)); err != nil {
		return err
	}
	if _, err := p.conn.Write(msg); err != nil {
		return err
	}
	back := make([]byte, len(msg)+1)
	for {
		n, err := p.conn.Read(back)
		if err != nil {
			return err
		}
		// An answer to an earlier packet may arrive late.
		if bytes.Equal(back[:n], msg) {
			return nil
		}
	}
}

// search finds the largest packet that passes, to within 8 bytes; 0 if not
// even the least that IP promises does.
func (p *packeter) search(above int) int {
	low, high := 68, above // RFC 791: every link carries 68
	if p.v6 {
		low = 1280 // RFC 8200 section 5
	}
	if p.twice(low) != nil {
		return 0
	}
	for high-low > 8 {
		mid := (low + high) / 2
		if p.twice(mid) == nil {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// twice forgives one lost packet.
func (p *packeter) twice(size int) error {
	if err := p.echo(size, 250*time.Millisecond); err == nil {
		return nil
	}
	return p.echo(size, 250*time.Millisecond)
}
