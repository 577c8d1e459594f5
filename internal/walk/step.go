// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/plan"
)

// hopsMax bounds a walk; a packet's TTL would do so, too.
const hopsMax = 32

// podDevice stands for the host's end of some pod's veth pair: the plans of
// single pods are not known here, and rules match its prefix only.
const podDevice = api.DevicePodPrefix + "-pod"

// Walk follows a packet that starts on the node from: from a pod there if
// p.Src lies in the node's pod range, else from the node itself.
func (f *Fleet) Walk(from string, p Packet) (Result, error) {
	if p.Src.Is6() != p.Dst.Is6() {
		return Result{}, fmt.Errorf("walk from %s to %s: not the same address family", p.Src, p.Dst)
	}
	n, err := f.node(from)
	if err != nil {
		return Result{}, err
	}
	w := &walker{fleet: f, at: n, p: p, r: Result{Packet: p, Nodes: []string{from}}}
	if n.local(p.Src) && !n.own(p.Src) {
		w.iif = podDevice
		w.carries(n.view.PodMTU())
		w.hop("pod", p.Src.String()+" sends to "+p.Dst.String(), "its only route is by the node: "+gateway(p.Dst)+" on its veth")
	}
	for range hopsMax {
		if err := w.cross(); err != nil {
			return Result{}, fmt.Errorf("walk %s to %s: %w", p.Src, p.Dst, err)
		}
		if w.r.Verdict != "" {
			w.finish()
			return w.r, nil
		}
	}
	w.end(Dropped, fmt.Sprintf("it goes in circles: %d hops", hopsMax))
	w.finish()
	return w.r, nil
}

func gateway(dst netip.Addr) string {
	if dst.Is6() {
		return api.PodGateway6
	}
	return api.PodGateway4
}

// walker is one packet on its way.
type walker struct {
	fleet *Fleet
	at    *node
	p     Packet
	iif   string // "" while the packet is the node's own
	links int
	r     Result
}

func (w *walker) hop(what, text, why string) {
	w.r.Hops = append(w.r.Hops, Hop{Node: w.at.name(), What: what, Text: text, Why: why})
}

func (w *walker) end(v Verdict, reason string) { w.r.Verdict, w.r.Reason = v, reason }

func (w *walker) drop(what, text, why string) {
	w.hop(what, text, why)
	w.end(Dropped, "node "+w.at.name()+": "+why)
}

// carries lowers the MTU of the way.
func (w *walker) carries(mtu int) {
	if mtu > 0 && (w.r.MTU == 0 || mtu < w.r.MTU) {
		w.r.MTU = mtu
	}
}

// finish names the path and its relay.
func (w *walker) finish() {
	switch {
	case w.r.Kind != "":
	case w.links > 0:
		w.r.Kind = Link
	case len(w.r.Nodes) > 1:
		w.r.Kind = Overlay
	default:
		w.r.Kind = SameNode
	}
	ends := []string{w.domain(w.r.Nodes[0]), w.domain(w.r.Nodes[len(w.r.Nodes)-1])}
	for _, n := range w.r.Nodes {
		if d := w.domain(n); !slices.Contains(ends, d) {
			w.r.Relay = d
		}
	}
}

func (w *walker) domain(node string) string { return w.fleet.views[node].Self.Domain }

// cross takes the packet through the node it is at, to the next one or to its
// end.
func (w *walker) cross() error {
	hook := "prerouting"
	if w.iif == "" {
		hook = "output"
	}
	if ok, err := w.filter(hook, ""); !ok || err != nil {
		return err
	}
	if w.at.own(w.p.Dst) {
		w.hop("deliver", "it is for the node itself", w.p.Dst.String()+" is an address of the node")
		w.end(Delivered, "arrives at node "+w.at.name())
		return nil
	}
	if w.at.local(w.p.Dst) {
		return w.deliver()
	}
	r, ok := w.at.route(w.p, 0)
	if !ok {
		return w.leave()
	}
	w.hop("route", w.p.Dst.String()+" goes to "+r.Dev, r.String())
	w.carries(r.MTU)
	if ok, err := w.post(r.Dev); !ok || err != nil {
		return err
	}
	dev, ok := w.at.device(r.Dev)
	if !ok {
		w.drop("route", "the packet goes nowhere", "the route's device "+r.Dev+" is not in the plan")
		return nil
	}
	w.carries(dev.MTU)
	switch dev.Kind {
	case plan.VXLAN:
		return w.overlay(dev, r)
	case plan.WireGuard:
		return w.link(dev)
	default:
		return errUnknown("device " + dev.Name + " of kind " + string(dev.Kind))
	}
}

// deliver hands the packet to a pod of this node.
func (w *walker) deliver() error {
	if ok, err := w.post(podDevice); !ok || err != nil {
		return err
	}
	w.carries(w.at.view.PodMTU())
	w.hop("deliver", "to the pod "+w.p.Dst.String()+" by its veth", "every pod of the node has a route of its own")
	w.end(Delivered, "arrives at a pod of node "+w.at.name())
	return nil
}

// post is what a packet meets between its route and its device.
func (w *walker) post(oif string) (bool, error) {
	if w.iif != "" {
		if ok, err := w.filter("forward", oif); !ok || err != nil {
			return ok, err
		}
	}
	return w.filter("postrouting", oif)
}

// filter runs the chains of one hook; false means that the packet is gone.
func (w *walker) filter(hook, oif string) (bool, error) {
	s := &state{packet: w.p, iif: w.iif, oif: oif, mine: w.at.own}
	o, err := w.at.rules.run(hook, s)
	if err != nil {
		return false, err
	}
	switch o.verdict {
	case actDrop:
		w.drop("firewall", "the packet is dropped", o.where+": "+o.why)
		return false, nil
	case actDNAT:
		w.hop("firewall", w.p.Dst.String()+" becomes "+s.to.String(), o.where+": "+o.why)
		w.p.Dst, w.p.Port = s.to.Addr(), s.to.Port()
	case actMasquerade:
		src := w.at.address(oif, w.p.Dst.Is6()) // the kernel takes that of the device
		w.hop("masquerade", w.p.Src.String()+" becomes "+src.String(), o.where+": "+o.why)
		w.p.Src = src
	case actNone, actAccept, actReturn, actJump, actGoto: // it goes on as it is
	}
	return true, nil
}

// leave sends a packet that no route of ours wants by the node's own default
// route.
func (w *walker) leave() error {
	inside := slices.ContainsFunc(w.at.view.Settings.ClusterCIDRs, func(p netip.Prefix) bool { return p.Contains(w.p.Dst) })
	if inside {
		w.drop("route", "no route to "+w.p.Dst.String(), w.missing())
		return nil
	}
	if ok, err := w.post(UnknownDevice); !ok || err != nil {
		return err
	}
	home, _ := w.at.view.Home()
	for _, n := range home.Nodes {
		if n.Addr4 == w.p.Dst || n.Addr6 == w.p.Dst {
			w.hop("leave", "straight to node "+n.Name, "nodes of one domain reach each other without us")
			w.r.Kind, w.r.Nodes = Underlay, append(w.r.Nodes, n.Name)
			w.end(Delivered, "arrives at node "+n.Name)
			return nil
		}
	}
	w.hop("leave", "by the node's own default route", "no route of ours matches "+w.p.Dst.String())
	w.r.Kind = Outside
	w.end(Leaves, "leaves node "+w.at.name()+" with source "+w.p.Src.String())
	return nil
}

// missing says why there is no route to an address of the cluster: what the
// planners noted about its node or domain, if they noted anything.
func (w *walker) missing() string {
	n, d, ok := w.at.view.Owner(w.p.Dst)
	if !ok {
		return "no node has " + w.p.Dst.String() + " in its pod range"
	}
	for _, note := range w.at.plan.Notes {
		switch note.Subject {
		case "node " + n.Name, "domain " + d.Name, "node " + w.at.name():
			return note.Subject + ": " + note.Text + " (" + note.Code + ")"
		}
	}
	if !w.at.view.Settings.Links && d.Name != w.at.view.Self.Domain {
		return "links between domains are switched off (" + api.RavenConfigName + " " + api.RavenEnableL3 + ")"
	}
	return "no route leads to node " + n.Name + " of domain " + d.Name
}
