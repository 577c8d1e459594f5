// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

const (
	// tick is the unit in which the kernel keeps a token bucket's burst, in
	// nanoseconds. Source: linux include/net/pkt_sched.h, PSCHED_SHIFT.
	tick = 64
	// queueTime is how long a packet may wait in a token bucket, in
	// milliseconds; what would wait longer is dropped. The bandwidth plugin of
	// containernetworking/plugins has the same.
	queueTime = 25
)

func (r *reader) readShapes(s *space) error {
	qdiscs, err := s.QdiscList(nil)
	if err != nil {
		return fmt.Errorf("list qdiscs in %q: %w", s.path, err)
	}
	for _, q := range qdiscs {
		a := q.Attrs()
		if !s.ours[a.LinkIndex] {
			continue
		}
		shape := plan.Shape{NS: s.path, Dev: s.name(a.LinkIndex)}
		switch v := q.(type) {
		case *netlink.Tbf:
			if a.Parent != netlink.HANDLE_ROOT {
				continue
			}
			shape.Rate, shape.Burst = v.Rate*8, bucket(v.Rate, v.Buffer)*8
		case *netlink.Clsact:
			if s == r.spaces[0] {
				r.hooked = append(r.hooked, a.LinkIndex)
			}
			continue
		case *netlink.Ingress:
			if shape.Redirect, err = redirectOf(s, a.LinkIndex); err != nil {
				return err
			}
		default:
			continue
		}
		r.plan.Shapes = append(r.plan.Shapes, shape)
	}
	return nil
}

// bucket turns ticks at a rate (bytes a second) into bytes, rounding up as
// buffer rounds down.
func bucket(rate uint64, ticks uint32) uint64 {
	return (rate*uint64(ticks)*tick + 999_999_999) / 1_000_000_000
}

// buffer turns a burst in bytes into ticks at a rate.
func buffer(rate, burst uint64) uint32 {
	return uint32(min(float64(burst)*1e9/float64(rate)/tick, 1<<32-1))
}

// redirectOf returns where everything that enters a device is sent. Anything
// else that hangs there gives a name that no plan wants.
func redirectOf(s *space, index int) (string, error) {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	filters, err := s.FilterList(link, netlink.MakeHandle(0xffff, 0))
	if err != nil {
		return "", fmt.Errorf("list filters of %s: %w", s.name(index), err)
	}
	found := ""
	for _, f := range filters {
		u, ok := f.(*netlink.U32)
		if ok && len(u.Actions) == 0 {
			continue // the hash table that u32 makes for itself
		}
		if !ok || len(u.Actions) != 1 || found != "" {
			return "?", nil
		}
		if to, ok := u.Actions[0].(*netlink.MirredAction); ok {
			found = s.name(to.Ifindex)
		}
	}
	if found == "" {
		return "?", nil
	}
	return found, nil
}

// writeShape adds, changes or removes a token bucket or a redirect.
func (h *realHand) writeShape(p plan.Shape, drop bool) (int, error) {
	c, index, err := h.at(p.NS, p.Dev)
	if err != nil {
		if drop {
			return removed(err)
		}
		return 0, err
	}
	if p.Redirect != "" {
		return h.writeRedirect(c, index, p, drop)
	}
	if drop {
		return removed(c.QdiscDel(bucketOf(index, 1, 0)))
	}
	if p.Rate < 8 {
		return 0, fmt.Errorf("rate of %d bit/s: too small", p.Rate)
	}
	return wrote(c.QdiscReplace(bucketOf(index, p.Rate/8, p.Burst/8)))
}

// bucketOf is the token bucket at the root of a device, in bytes.
func bucketOf(index int, rate, burst uint64) *netlink.Tbf {
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
		},
		Rate: rate, Buffer: buffer(rate, burst),
		Limit: uint32(min(rate*queueTime/1000+burst, 1<<32-1)),
	}
}

func (h *realHand) writeRedirect(c *conn, index int, p plan.Shape, drop bool) (int, error) {
	if drop {
		return removed(c.QdiscDel(ingressOf(index)))
	}
	_, to, err := h.at(p.NS, p.Redirect)
	if err != nil {
		return 0, err
	}
	// Begin anew: whatever else hangs there would see the packets first.
	if err := c.QdiscDel(ingressOf(index)); err != nil && !isGone(err) && !errors.Is(err, unix.EINVAL) {
		return 0, fmt.Errorf("clear ingress: %w", err)
	}
	if err := addRedirect(c.QdiscAdd, c.FilterAdd, index, to); err != nil {
		return 1, err
	}
	return 2, nil
}

func ingressOf(index int) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
}

// addRedirect sends all that enters one device to another. u32 without a
// selector matches everything; it is older than matchall and in more kernels.
func addRedirect(qdisc func(netlink.Qdisc) error, filter func(netlink.Filter) error, index, to int) error {
	if err := qdisc(ingressOf(index)); err != nil {
		return fmt.Errorf("add ingress: %w", err)
	}
	err := filter(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		ClassId: netlink.MakeHandle(1, 1),
		Actions: []netlink.Action{netlink.NewMirredAction(to)},
	})
	if err != nil {
		return fmt.Errorf("add redirect: %w", err)
	}
	return nil
}
