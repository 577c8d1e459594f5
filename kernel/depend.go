// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"slices"

	"github.com/magpie-edge/magpie/plan"
)

// ends are the names under which a device is seen: a veth pair has two.
func ends(d plan.Device) []plan.DeviceKey {
	e := []plan.DeviceKey{d.Key()}
	if d.Kind == plan.Veth && d.PeerName != "" {
		e = append(e, plan.DeviceKey{NS: d.PeerNS, Name: d.PeerName})
	}
	return e
}

// deviceOf returns the device that an item lives on, if it lives on one. A
// route lives on its device because the kernel drops it with the device.
func deviceOf(item fmt.Stringer) (plan.DeviceKey, bool) {
	switch i := item.(type) {
	case plan.Addr:
		return plan.DeviceKey{NS: i.NS, Name: i.Dev}, true
	case plan.Neigh:
		return plan.DeviceKey{NS: i.NS, Name: i.Dev}, true
	case plan.FDB:
		return plan.DeviceKey{Name: i.Dev}, true
	case plan.Route:
		return plan.DeviceKey{NS: i.NS, Name: i.Dev}, i.Dev != ""
	case plan.Shape:
		return plan.DeviceKey{NS: i.NS, Name: i.Dev}, true
	case plan.Program:
		return plan.DeviceKey{Name: i.Dev}, true
	case plan.Shortcut:
		return plan.DeviceKey{Name: i.Dev}, true
	case plan.Peer:
		return plan.DeviceKey{Name: i.Dev}, true
	case plan.Allowed:
		return plan.DeviceKey{Name: i.Dev}, true
	default:
		return plan.DeviceKey{}, false
	}
}

// without returns p less everything that lives on one of the devices.
func without(p plan.Plan, devices map[plan.DeviceKey]bool) plan.Plan {
	p.Addrs = off(p.Addrs, devices)
	p.Neighs = off(p.Neighs, devices)
	p.FDBs = off(p.FDBs, devices)
	p.Routes = off(p.Routes, devices)
	p.Shapes = off(p.Shapes, devices)
	p.Programs = off(p.Programs, devices)
	p.Shortcuts = off(p.Shortcuts, devices)
	p.Peers = off(p.Peers, devices)
	p.Allowed = off(p.Allowed, devices)
	return p
}

func off[T fmt.Stringer](items []T, devices map[plan.DeviceKey]bool) []T {
	return slices.DeleteFunc(slices.Clone(items), func(i T) bool {
		on, ok := deviceOf(i)
		return ok && devices[on]
	})
}

// departure is what a set of removals takes along.
type departure struct {
	devices map[plan.DeviceKey]bool
	peers   map[plan.PeerKey]bool
	tables  map[plan.TableKey]bool
}

func going(steps []plan.Step) departure {
	d := departure{map[plan.DeviceKey]bool{}, map[plan.PeerKey]bool{}, map[plan.TableKey]bool{}}
	for _, s := range steps {
		if s.Op != plan.Remove {
			continue
		}
		switch i := s.Item.(type) {
		case plan.Device:
			for _, end := range ends(i) {
				d.devices[end] = true
			}
		case plan.Peer:
			d.peers[i.Key()] = true
		case plan.Table:
			d.tables[i.Key()] = true
		}
	}
	return d
}

// takes reports whether the item disappears without a write of its own. A
// shortcut does not: no packet may be sent to a device that is going away.
func (d departure) takes(item fmt.Stringer) bool {
	if _, ok := item.(plan.Shortcut); ok {
		return false
	}
	if on, ok := deviceOf(item); ok && d.devices[on] {
		return true
	}
	switch i := item.(type) {
	case plan.Allowed:
		return d.peers[plan.PeerKey{Dev: i.Dev, PublicKey: i.Peer}]
	case plan.Member:
		return d.tables[plan.TableKey{Family: i.Family, Name: i.Table}]
	default:
		return false
	}
}
