// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/test/bench/stage"
)

// rules hears what changes in the nftables of one namespace.
type rules struct {
	file *os.File

	mu   sync.Mutex
	want []byte // to be found in a notification
	seen chan time.Time
}

// hearRules begins to listen. An endpoint is an element of a map of kube-proxy's:
// its address and, right behind it, its port.
func hearRules(space *stage.Space) (*rules, error) {
	fd := -1
	err := space.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("open netlink socket: %w", err)
		}
		// A round of many changes is more than the default holds.
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}))
	})
	if err != nil {
		return nil, fmt.Errorf("listen for rules: %w", err)
	}
	r := &rules{file: os.NewFile(uintptr(fd), "nftables"), seen: make(chan time.Time, 1)}
	go r.run()
	return r, nil
}

func (r *rules) run() {
	buf := make([]byte, 1<<20)
	for {
		n, err := r.file.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			continue // what was lost shows as a wait that ends in an error
		}
		if err != nil {
			return // closed
		}
		now := time.Now()
		r.mu.Lock()
		if r.want != nil && bytes.Contains(buf[:n], r.want) {
			r.want = nil
			r.seen <- now
		}
		r.mu.Unlock()
	}
}

// expect makes the next notification with that endpoint the one that counts.
func (r *rules) expect(endpoint netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = binary.BigEndian.AppendUint16(endpoint.Addr().AsSlice(), endpoint.Port())
	select {
	case <-r.seen:
	default:
	}
}

// await returns when the notification came.
func (r *rules) await(patience time.Duration) (time.Time, error) {
	select {
	case at := <-r.seen:
		return at, nil
	case <-time.After(patience):
		r.mu.Lock()
		defer r.mu.Unlock()
		return time.Time{}, fmt.Errorf("no rule with % x within %s", r.want, patience)
	}
}

func (r *rules) close() { _ = r.file.Close() }
