// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// reader is one Observe: what it learns on the way, and the plan it fills.
type reader struct {
	w      *world
	spaces []*space // the host first, then the namespaces asked for
	hooked []int    // devices of ours in the host where programs can be
	plan   plan.Plan
}

// space is one network namespace as the reader found it.
type space struct {
	*conn
	links map[int]seen    // by index
	ours  map[int]bool    // indexes of the ends of our devices
	named map[string]seen // by name, for told
	id    int             // of the namespace, as the host counts; -1 if it has none
}

func (w *world) newReader() (*reader, error) {
	c, err := w.host.dial("")
	if err != nil {
		return nil, err
	}
	return &reader{w: w, spaces: []*space{{conn: c, id: -1}}}, nil
}

func (r *reader) close() {
	for _, s := range r.spaces {
		s.close()
	}
}

// read fills the plan kind by kind.
func (r *reader) read(ctx context.Context) (plan.Plan, error) {
	if err := r.open(); err != nil {
		return plan.Plan{}, err
	}
	for _, s := range r.spaces {
		if err := r.readSpace(s); err != nil {
			return plan.Plan{}, err
		}
	}
	host := r.spaces[0]
	steps := []func() error{
		func() error { return r.readFDB(host) },
		func() error { return r.readRules(host) },
		func() error { return r.readFastPath(host) },
		r.readSettings,
		func() error { return r.w.host.wg.read(&r.plan) },
		func() error { return r.w.host.nft.read(r.w.owner, &r.plan) },
		func() error { return r.w.host.ipt.read(ctx, r.w.owner, &r.plan) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return plan.Plan{}, err
		}
	}
	return r.plan, ctx.Err()
}

// open finds our devices in the host and in the namespaces asked for.
func (r *reader) open() error {
	if r.w.scope.namespaces != nil {
		for _, path := range r.w.scope.namespaces() {
			c, err := r.w.host.dial(path)
			if errors.Is(err, ErrNoNamespace) {
				continue // it took everything of ours with it
			}
			if err != nil {
				return err
			}
			r.spaces = append(r.spaces, &space{conn: c})
		}
	}
	host := r.spaces[0]
	for _, s := range r.spaces {
		if s != host {
			id, err := host.GetNetNsIdByFd(s.fd)
			if err != nil {
				return fmt.Errorf("id of namespace %s: %w", s.path, err)
			}
			s.id = id
		}
		if err := r.readLinks(s); err != nil {
			return err
		}
	}
	for _, s := range r.spaces {
		for index := range s.ours {
			if l := s.links[index]; isOurs(l, r.w.owner) {
				r.plan.Devices = append(r.plan.Devices, r.device(s, l.Link))
			}
		}
	}
	return nil
}

func (r *reader) readLinks(s *space) error {
	s.links, s.ours = map[int]seen{}, map[int]bool{}
	err := s.eachLink(0, unix.NLM_F_DUMP, nil, func(l seen) {
		s.links[l.Attrs().Index] = l
		if isOurs(l, r.w.owner) {
			s.ours[l.Attrs().Index] = true
		}
	})
	if err != nil {
		return fmt.Errorf("list devices in %q: %w", s.path, err)
	}
	return nil
}

// device turns what the kernel says about a device of ours into a plan item,
// and marks the far end of a veth pair as ours, too.
func (r *reader) device(s *space, l netlink.Link) plan.Device {
	a := l.Attrs()
	d := plan.Device{NS: s.path, Name: a.Name, Kind: kindOf(l), MAC: a.HardwareAddr.String(), MTU: a.MTU}
	sound := a.Flags&unix.IFF_UP != 0 && a.Alias != ""
	switch v := l.(type) {
	case *netlink.Veth:
		if peerSpace, peer := r.peer(s, l); peer != nil {
			peerSpace.ours[peer.Attrs().Index] = true
			d.PeerNS, d.PeerName = peerSpace.path, peer.Attrs().Name
			d.PeerMAC = peer.Attrs().HardwareAddr.String()
			sound = sound && peer.Attrs().Flags&unix.IFF_UP != 0
		}
	case *netlink.Vxlan:
		d.VNI, d.Port = v.VxlanId, v.Port
		d.Local, _ = netip.AddrFromSlice(v.SrcAddr)
		d.Local = d.Local.Unmap()
		if under, ok := s.links[v.VtepDevIndex]; ok {
			d.Underlay = under.Attrs().Name
		}
		sound = sound && !v.Learning
	}
	if !sound {
		d.Kind += unsound
	}
	return d
}

// peer finds the other end of a veth pair among the namespaces we look at.
func (r *reader) peer(s *space, l netlink.Link) (*space, netlink.Link) {
	id := l.Attrs().NetNsID
	for _, other := range r.spaces {
		same := id < 0 && other == s
		if same || (id >= 0 && other.id == id && other != s) {
			return other, other.links[l.Attrs().ParentIndex].Link
		}
	}
	return nil, nil
}

// readSpace reads what lives on our devices, and our routes.
func (r *reader) readSpace(s *space) error {
	steps := []func(*space) error{r.readRoutes}
	if len(s.ours) > 0 {
		steps = append(steps, r.readAddrs, r.readNeighs, r.readShapes)
	}
	for _, step := range steps {
		if err := step(s); err != nil {
			return err
		}
	}
	return nil
}

// prefix is what the names of all our devices begin with.
const prefix = "mag"

// unsound is appended to the kind of a device that is there but not in order
// (down, or half made), so that it differs from any wanted one.
const unsound = ",unsound"

func alias(o plan.Owner) string { return "magpie:" + o.Name }

// isOurs reports whether a device carries the owner's mark. See doc.go for why
// the group stands in for a missing alias.
func isOurs(l netlink.Link, o plan.Owner) bool {
	a := l.Attrs()
	if !strings.HasPrefix(a.Name, prefix) {
		return false
	}
	return a.Alias == alias(o) || (a.Alias == "" && a.Group == uint32(o.Proto))
}

// kindOf names the kind as plans do. A WireGuard device outside the kernel is
// a TUN device.
func kindOf(l netlink.Link) plan.Kind {
	switch l.Type() {
	case "tuntap", "tun", "wireguard":
		return plan.WireGuard
	default:
		return plan.Kind(l.Type())
	}
}
