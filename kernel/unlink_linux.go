// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"time"

	"github.com/vishvananda/netlink"
)

// unlink removes a device and returns when nobody can see it any more.
//
// The kernel answers later than that: whoever removes a device waits, outside
// every lock, until all CPUs have let go of it, which takes 10 to 20 ms. Until
// then a socket shared with others would keep them waiting, too. So the request
// has a socket of its own, and we look instead of waiting for the answer: a
// veth pair is gone after 1 ms.
func (h *Host) unlink(c *conn, l netlink.Link) error {
	own, err := h.dial(c.path)
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	go func() { // ends with the kernel's answer, which always comes
		defer own.close()
		answer <- own.LinkDel(l)
	}()
	const shortest, longest = 200 * time.Microsecond, 5 * time.Millisecond
	for wait := shortest; ; wait = min(2*wait, longest) {
		select {
		case err := <-answer:
			return err
		case <-time.After(wait):
		}
		if _, err := c.LinkByIndex(l.Attrs().Index); isGone(err) {
			return nil
		}
	}
}
