// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

func (r *reader) readRoutes(s *space) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := s.eachRoute(nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Protocol: r.w.owner.Proto}}, func(f foundRoute) {
			f.route.NS = s.path
			f.route.Dev = s.name(f.oif)
			r.plan.Routes = append(r.plan.Routes, f.route)
		})
		if err != nil {
			return fmt.Errorf("list routes in %q: %w", s.path, err)
		}
	}
	return nil
}

// foundRoute is one route of a dump.
type foundRoute struct {
	route    plan.Route // without NS and Dev
	oif      int
	protocol uint8
}

// eachRoute dumps the unicast routes that match the filter. The kernel filters
// by protocol and table, so that ours are not looked for among a full table of
// somebody else's.
func (c *conn) eachRoute(filter nl.RtMsg, f func(foundRoute)) error {
	req, err := c.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	if err != nil {
		return err
	}
	req.AddData(&filter)
	var parsed error
	err = req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
		found, ok, err := parseRoute(m)
		if err != nil {
			parsed = err
			return false
		}
		// A kernel that does not filter sends everything: look again.
		if ok && (filter.Protocol == 0 || found.protocol == filter.Protocol) {
			f(found)
		}
		return true
	})
	// The dump of a table that no route was ever put into says ENOENT.
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, parsed)
}

// parseRoute reads one RTM_NEWROUTE; ok is false for what is no unicast route.
func parseRoute(m []byte) (f foundRoute, ok bool, err error) {
	msg := nl.DeserializeRtMsg(m)
	if msg.Type != unix.RTN_UNICAST || msg.Flags&unix.RTM_F_CLONED != 0 {
		return f, false, nil
	}
	f.protocol = msg.Protocol
	r := &f.route
	table := int(msg.Table)
	zero := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		zero = netip.IPv6Unspecified()
	}
	dst := zero
	r.OnLink = msg.Flags&unix.RTNH_F_ONLINK != 0
	attrs, err := nl.ParseRouteAttr(m[msg.Len():])
	if err != nil {
		return f, false, fmt.Errorf("parse route: %w", err)
	}
	order := nl.NativeEndian()
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_GATEWAY:
			r.Via, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_PREFSRC:
			r.Src, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_OIF:
			f.oif = int(order.Uint32(a.Value))
		case unix.RTA_TABLE:
			table = int(order.Uint32(a.Value))
		case unix.RTA_METRICS:
			r.MTU, err = metricMTU(a.Value)
		}
	}
	if table != unix.RT_TABLE_MAIN {
		r.Table = table
	}
	r.Dst = netip.PrefixFrom(dst, int(msg.Dst_len))
	return f, true, err
}

func metricMTU(b []byte) (int, error) {
	metrics, err := nl.ParseRouteAttr(b)
	if err != nil {
		return 0, fmt.Errorf("parse route metrics: %w", err)
	}
	for _, m := range metrics {
		if m.Attr.Type == unix.RTAX_MTU {
			return int(nl.NativeEndian().Uint32(m.Value)), nil
		}
	}
	return 0, nil
}

// writeRoute adds, changes or removes a route. An add never replaces: a route
// of the same destination that is not ours stays, unless it leaves by a device
// of ours, as the routes of the system whose device we took over do.
func (h *realHand) writeRoute(s plan.Step, r plan.Route) (int, error) {
	c, index, err := h.at(r.NS, r.Dev)
	if err != nil {
		if s.Op == plan.Remove {
			return removed(err)
		}
		return 0, err
	}
	route := h.toRoute(r, index)
	switch s.Op {
	case plan.Remove:
		return removed(c.RouteDel(route))
	case plan.Change:
		return h.replaceRoute(c, s, route)
	case plan.Add:
	}
	err = c.RouteAdd(route)
	if !isThere(err) {
		return wrote(err)
	}
	have, owned, err := h.occupant(c, r)
	switch {
	case err != nil:
		return 0, err
	case owned && have.route.Same(r) && have.oif == index && have.protocol == h.owner.Proto:
		return 0, nil
	case owned:
		return wrote(c.RouteReplace(route))
	default:
		return 0, fmt.Errorf("a route of protocol %d %w", have.protocol, ErrForeign)
	}
}

// occupant finds the route that has the place of r, and reports whether we may
// replace it.
func (h *realHand) occupant(c *conn, r plan.Route) (found foundRoute, owned bool, err error) {
	family := uint8(unix.AF_INET)
	if r.Dst.Addr().Is6() {
		family = unix.AF_INET6
	}
	var there []foundRoute
	err = c.eachRoute(nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}, func(f foundRoute) {
		if f.route.Dst == r.Dst && f.route.Key().Table == r.Key().Table {
			there = append(there, f)
		}
	})
	for i := 0; i < len(there) && !owned; i++ {
		found = there[i]
		owned = found.protocol == h.owner.Proto || h.ownsIndex(c, found.oif)
	}
	found.route.NS, found.route.Dev = r.NS, r.Dev
	return found, owned, err
}

func (h *realHand) ownsIndex(c *conn, index int) bool {
	l, err := c.LinkByIndex(index)
	return err == nil && isOurs(l, h.owner)
}

// replaceRoute changes a route of ours. Where its device changes, IPv6 keeps
// both routes, so the old one is removed after the new one is in.
func (h *realHand) replaceRoute(c *conn, s plan.Step, route *netlink.Route) (int, error) {
	n, err := wrote(c.RouteReplace(route))
	if err != nil {
		return n, err
	}
	was, ok := s.Was.(plan.Route)
	if !ok || was.Dst.Addr().Is4() || was.Dev == "" {
		return n, nil
	}
	have := 0
	err = c.eachRoute(nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Protocol: h.owner.Proto}}, func(f foundRoute) {
		if f.route.Key().Table == was.Key().Table && f.route.Dst == was.Dst {
			have++
		}
	})
	if err != nil || have < 2 {
		return n, err
	}
	_, index, err := h.at(was.NS, was.Dev)
	if err != nil {
		return n, nil //nolint:nilerr // its device is gone, and the route with it
	}
	more, err := removed(c.RouteDel(h.toRoute(was, index)))
	return n + more, err
}

func (h *realHand) toRoute(r plan.Route, index int) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: index, Dst: toIPNet(r.Dst), Gw: r.Via.AsSlice(), Src: r.Src.AsSlice(),
		Table: r.Key().Table, Protocol: netlink.RouteProtocol(h.owner.Proto), MTU: r.MTU,
		Type: unix.RTN_UNICAST, Scope: netlink.SCOPE_UNIVERSE,
	}
	if !r.Via.IsValid() && r.Dst.Addr().Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	if r.OnLink {
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	return route
}
