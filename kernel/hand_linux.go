// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"

	"github.com/magpie-edge/magpie/plan"
)

// realHand writes to the real kernel during one Apply. It keeps what it has
// opened and looked up for that long and no longer: a namespace kept open
// would outlive its pod.
type realHand struct {
	host  *Host
	owner plan.Owner
	conns map[string]*conn
	index map[plan.DeviceKey]int
	conf  map[plan.DeviceKey]seen // devices whose settings are known
}

func newHand(h *Host, o plan.Owner) *realHand {
	return &realHand{
		host: h, owner: o,
		conns: map[string]*conn{"": h.conn},
		index: map[plan.DeviceKey]int{},
		conf:  map[plan.DeviceKey]seen{},
	}
}

func (h *realHand) close() {
	for path, c := range h.conns {
		if path != "" {
			c.close()
		}
	}
}

// conn returns the way into a namespace.
func (h *realHand) conn(path string) (*conn, error) {
	if c := h.conns[path]; c != nil {
		return c, nil
	}
	c, err := h.host.dial(path)
	if err != nil {
		return nil, err
	}
	h.conns[path] = c
	return c, nil
}

// at returns the way into a namespace and the index of a device there.
func (h *realHand) at(ns, dev string) (*conn, int, error) {
	c, err := h.conn(ns)
	if err != nil {
		return nil, 0, err
	}
	k := plan.DeviceKey{NS: ns, Name: dev}
	if i, ok := h.index[k]; ok {
		return c, i, nil
	}
	l, err := c.LinkByName(dev)
	if err != nil {
		return nil, 0, fmt.Errorf("device %s: %w", dev, err)
	}
	h.index[k] = l.Attrs().Index
	return c, l.Attrs().Index, nil
}

// forget drops the indexes of a device that was made anew or removed.
func (h *realHand) forget(d plan.Device) {
	for _, end := range ends(d) {
		delete(h.index, end)
		delete(h.conf, end)
	}
}

// write does one step. See hand.
func (h *realHand) write(_ context.Context, s plan.Step) (int, error) {
	drop := s.Op == plan.Remove
	switch i := s.Item.(type) {
	case plan.Device: // adds and changes go through device
		h.forget(i)
		return h.removeDevice(i)
	case plan.Sysctl:
		return h.writeSysctl(i)
	case plan.Addr:
		return h.writeAddr(i, drop)
	case plan.Neigh:
		return h.writeNeigh(i, drop)
	case plan.FDB:
		return h.writeFDB(i, drop)
	case plan.Route:
		return h.writeRoute(s, i)
	case plan.Rule:
		return h.writeRule(i, drop)
	case plan.Shape:
		return h.writeShape(i, drop)
	case plan.Peer:
		return h.host.wg.writePeer(i, s.Op)
	case plan.Allowed:
		return h.host.wg.writeAllowed(i, drop)
	case plan.Accept:
		return h.host.ipt.write(h.owner, i, drop)
	case plan.Program:
		return h.writeProgram(i, drop)
	case plan.Shortcut:
		return h.writeShortcut(i, drop)
	default:
		return 0, fmt.Errorf("item %T: not known to this door", s.Item)
	}
}
