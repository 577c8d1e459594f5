// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watched are the multicast groups that speak when an object changes that a
// plan can hold, by netlink family. WireGuard's configuration and sysctls
// announce nothing: a loop finds those at its next full round.
func watched() map[int][]int {
	return map[int][]int{
		unix.NETLINK_ROUTE: {
			unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_TC,
			unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
			unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
		},
		unix.NETLINK_NETFILTER: {unix.NFNLGRP_NFTABLES},
	}
}

// Watch returns a channel that receives after changes of the kernel's network
// objects in the host's namespace, whoever made them. It carries no data, and
// changes that nobody has looked at yet become one. When the kernel drops
// messages for want of buffer space, that is a change, too. The channel closes
// after ctx ends.
func (h *Host) Watch(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	wake := func() {
		select {
		case out <- struct{}{}:
		default:
		}
	}
	done := make(chan struct{})
	families := watched()
	for family, groups := range families {
		go func() {
			h.listen(ctx, family, groups, wake)
			done <- struct{}{}
		}()
	}
	go func() {
		h.watchLegacy(ctx, wake)
		done <- struct{}{}
	}()
	go func() {
		for range len(families) + 1 {
			<-done
		}
		close(out)
	}()
	return out
}

// listen wakes for every message of one family until ctx ends. A socket that
// breaks is opened again, and whatever was missed meanwhile counts as a change.
func (h *Host) listen(ctx context.Context, family int, groups []int, wake func()) {
	for ctx.Err() == nil {
		err := inNS(h.home, func() error { return subscribe(ctx, family, groups, wake) })
		if ctx.Err() != nil {
			return
		}
		h.log.Warn("kernel events lost, listening again", "err", err)
		wake()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// subscribe reads messages of the groups and wakes for each batch. The socket
// belongs to the namespace of the calling thread.
func subscribe(ctx context.Context, family int, groups []int, wake func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return fmt.Errorf("netlink event socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind netlink event socket: %w", err)
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			return fmt.Errorf("join netlink group %d: %w", g, err)
		}
	}
	// A time-out lets the loop see the end of ctx; there is no other way to
	// interrupt a read of a blocking socket.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		return fmt.Errorf("set time-out of netlink event socket: %w", err)
	}
	if family == unix.NETLINK_ROUTE {
		// Pods' namespaces, too: they have ids because a veth joins them to us.
		// An old kernel says no, and a loop finds changes there at its next full
		// round.
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1) //nolint:errcheck // see above
	}
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			wake()
		case err == nil && (family != unix.NETLINK_ROUTE || matters(buf[:n])):
			wake()
			time.Sleep(settle)
		case err == nil:
		default:
			return fmt.Errorf("read netlink events: %w", err)
		}
	}
	return ctx.Err()
}

// settle is how long the listener looks away after a message that mattered. A
// pod that comes or goes makes dozens, and to be woken for each of them costs a
// tenth of what the pod costs.
const settle = 10 * time.Millisecond

// learned are the states of neighbours that the kernel finds and forgets by
// itself, many a second on a busy node.
const learned = unix.NUD_INCOMPLETE | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE

// matters reports whether any of the messages is about something that a plan
// can hold: anything but a neighbour that the kernel learned.
func matters(b []byte) bool {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return true
	}
	for _, m := range msgs {
		neigh := m.Header.Type == unix.RTM_NEWNEIGH || m.Header.Type == unix.RTM_DELNEIGH
		if !neigh || len(m.Data) < unix.SizeofNdMsg {
			return true
		}
		if binary.NativeEndian.Uint16(m.Data[8:])&learned == 0 {
			return true
		}
	}
	return false
}

// watchLegacy wakes when the older iptables or the shortcuts, which announce
// nothing, have been changed. It asks the kernel and starts no program.
func (h *Host) watchLegacy(ctx context.Context, wake func()) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(legacyPause):
			legacy, shortcuts := h.ipt.changed(), h.fast.changed()
			if legacy || shortcuts {
				wake()
			}
		}
	}
}

// legacyPause is how often they are looked at: a deleted accept is to come back
// within a second.
const legacyPause = 400 * time.Millisecond
