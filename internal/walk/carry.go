// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"

	"github.com/magpie-edge/magpie/plan"
)

// overlay carries the packet to another node of the domain: next hop to MAC,
// MAC to VTEP, and the same MAC must be the VTEP's own.
func (w *walker) overlay(dev plan.Device, r plan.Route) error {
	n, ok := w.at.neigh(dev.Name, r.Via)
	if !ok {
		w.drop("overlay", "the next hop has no MAC", "no neighbour entry for "+r.Via.String()+" on "+dev.Name)
		return nil
	}
	f, ok := w.at.fdb(dev.Name, n.MAC)
	if !ok {
		w.drop("overlay", "the frame has no VTEP", "no FDB entry for "+n.MAC+" on "+dev.Name)
		return nil
	}
	name, ok := w.fleet.vtep(w.at, dev, f.Dst)
	if !ok {
		w.drop("overlay", "nobody listens at "+f.Dst.String(), "no other node of the domain has that address")
		return nil
	}
	far, err := w.fleet.node(name)
	if err != nil {
		return err
	}
	w.hop("overlay", "VXLAN to node "+name+" at "+f.Dst.String(), n.String()+"; "+f.String())
	w.move(far, dev.Name)
	theirs, ok := far.device(dev.Name)
	switch {
	case !ok:
		w.drop("overlay", "the frame arrives at a node without overlay", "device "+dev.Name+" is not in its plan"+because(far))
	case theirs.MAC != n.MAC:
		w.drop("overlay", "the frame is for another MAC", "its VTEP has "+theirs.MAC+", the sender believes "+n.MAC)
	case theirs.VNI != dev.VNI || theirs.Port != dev.Port:
		w.drop("overlay", "the frame is of another overlay", fmt.Sprintf(
			"its VTEP has VNI %d port %d, the sender VNI %d port %d", theirs.VNI, theirs.Port, dev.VNI, dev.Port))
	}
	return nil
}

// because adds the first thing a node's planners noted about the node itself.
func because(n *node) string {
	for _, note := range n.plan.Notes {
		if note.Subject == "node "+n.name() {
			return ": " + note.Text
		}
	}
	return ""
}

// link carries the packet through WireGuard: the destination chooses the peer,
// and the peer accepts only sources that it expects from us.
func (w *walker) link(dev plan.Device) error {
	a, ok := w.at.allowed(dev.Name, w.p.Dst)
	if !ok {
		w.drop("link", "no peer takes it", "no allowed IP of "+dev.Name+" covers "+w.p.Dst.String())
		return nil
	}
	peer, ok := w.at.peer(dev.Name, a.Peer)
	if !ok {
		w.drop("link", "no such peer", "allowed IP "+a.Prefix.String()+" names peer "+a.Peer+", which is not configured")
		return nil
	}
	name, ok := w.at.keyHolder(a.Peer)
	if !ok {
		w.drop("link", "nobody has the peer's key", "no gateway has published "+a.Peer)
		return nil
	}
	far, err := w.fleet.node(name)
	if err != nil {
		return err
	}
	back, known := far.peer(dev.Name, dev.PublicKey)
	where := "which dials us"
	if peer.Endpoint.IsValid() {
		where = "at " + peer.Endpoint.String()
	}
	w.hop("link", "WireGuard to gateway "+name+" of "+far.view.Self.Domain+", "+where, a.String())
	if known && !peer.Endpoint.IsValid() && !back.Endpoint.IsValid() {
		w.drop("link", "there is no session", "neither gateway knows an address of the other: give one a public address in its Gateway")
		return nil
	}
	w.links++
	w.move(far, dev.Name)
	src, ok := far.allowed(dev.Name, w.p.Src)
	switch {
	case !known:
		w.drop("link", "the handshake fails", "it has no peer with the sender's key "+dev.PublicKey)
	case !ok:
		w.drop("link", "the source is refused", "no peer may send from "+w.p.Src.String())
	case src.Peer != dev.PublicKey:
		w.drop("link", "the source is refused", "only another peer may send from "+src.Prefix.String()+": "+src.Peer)
	default:
		if d, ok := far.device(dev.Name); ok {
			w.carries(d.MTU)
		}
	}
	return nil
}

// move puts the packet on the next node.
func (w *walker) move(to *node, iif string) {
	w.at, w.iif = to, iif
	w.r.Nodes = append(w.r.Nodes, to.name())
}
