// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// Paths a link can use.
const (
	// PathInternet is WireGuard over UDP, dialled by the edge.
	PathInternet = "internet"
)

// Codes of the notes this package writes.
const (
	NoteNoCloud       = "no-cloud-gateway" // no gateway that edges can dial
	NoteNoGateway     = "no-gateway"       // the other domain has no usable gateway
	NoteNoHomeGateway = "no-home-gateway"  // our own domain has none
)

// DefaultMTU is what a link carries while its gateways have not said, in
// bytes: Ethernet's 1500 less WireGuard's overhead.
const DefaultMTU = 1500 - api.OverheadWireGuard

// Choose returns how the domain of v.Self reaches every other domain, sorted
// by domain, and a note for each that it cannot reach.
func Choose(v fleet.View) ([]fleet.Link, []plan.Note) {
	home, ok := v.Home()
	if !ok || !v.Settings.Links {
		return nil, nil
	}
	c := chooser{home: home}
	c.cloud, c.hasCloud = Cloud(v)
	for _, d := range v.Domains {
		if d.Name != home.Name && len(d.CIDRs()) > 0 {
			c.reach(d)
		}
	}
	return c.links, c.notes
}

// Cloud returns the domain that edges dial: the first by name if an operator
// has made several.
func Cloud(v fleet.View) (fleet.Domain, bool) {
	i := slices.IndexFunc(v.Domains, func(d fleet.Domain) bool { return d.Cloud })
	if i < 0 {
		return fleet.Domain{}, false
	}
	return v.Domains[i], true
}

// Serving returns the cloud gateway that serves an edge domain: of the usable
// ones, that with the highest hash of both names (rendezvous hashing).
func Serving(cloud fleet.Domain, domain string) (fleet.Gateway, bool) {
	var best fleet.Gateway
	var bestScore uint64
	for _, g := range cloud.Gateways {
		if !g.Active || g.PublicKey == "" || len(g.Endpoints) == 0 {
			continue
		}
		if s := score(domain, g.Node); best.Node == "" || s > bestScore {
			best, bestScore = g, s
		}
	}
	return best, best.Node != ""
}

// Elected returns the gateway that carries an edge domain's links.
func Elected(d fleet.Domain) (fleet.Gateway, bool) {
	i := slices.IndexFunc(d.Gateways, func(g fleet.Gateway) bool { return g.Active && g.PublicKey != "" })
	if i < 0 {
		return fleet.Gateway{}, false
	}
	return d.Gateways[i], true
}

func score(domain, node string) uint64 {
	h := sha256.Sum256([]byte(domain + "\x00" + node))
	return binary.BigEndian.Uint64(h[:8])
}

type chooser struct {
	home, cloud fleet.Domain
	hasCloud    bool
	links       []fleet.Link
	notes       []plan.Note
}

func (c *chooser) note(d fleet.Domain, code, text string) {
	c.notes = append(c.notes, plan.Note{Subject: "domain " + d.Name, Code: code, Text: text})
}

// reach finds the link to d: straight when one of the two is the cloud, else
// through the cloud.
func (c *chooser) reach(d fleet.Domain) {
	if !c.hasCloud {
		c.note(d, NoteNoCloud, "no domain is marked as cloud; make a Gateway "+api.GatewayCloud+" with a public address")
		return
	}
	if c.home.Cloud {
		c.fromCloud(d)
		return
	}
	ours, ok := Elected(c.home)
	if !ok {
		c.note(d, NoteNoHomeGateway, "no gateway of "+c.home.Name+" is elected and has published its key")
		return
	}
	hub, ok := Serving(c.cloud, c.home.Name)
	if !ok {
		c.note(d, NoteNoCloud, "no gateway of "+c.cloud.Name+" has both a public address (Gateway spec.endpoints) and a published key")
		return
	}
	link := fleet.Link{Domain: d.Name, Gateway: ours.Node, Peer: hub.Node, Path: PathInternet, MTU: mtu(ours, hub)}
	if d.Name != c.cloud.Name {
		theirs, ok := Elected(d)
		if !ok {
			c.note(d, NoteNoGateway, "no gateway of it is elected and has published its key")
			return
		}
		link.Relay = c.cloud.Name
		link.MTU = c.relayMTU(link.MTU, d.Name, theirs)
	}
	c.links = append(c.links, link)
}

// relayMTU bounds the MTU of the first leg by that of the second.
func (c *chooser) relayMTU(first int, domain string, theirs fleet.Gateway) int {
	second, _ := Serving(c.cloud, domain)
	return min(first, mtu(second, theirs))
}

func (c *chooser) fromCloud(d fleet.Domain) {
	hub, ok := Serving(c.home, d.Name)
	if !ok {
		c.note(d, NoteNoHomeGateway, "no gateway of "+c.home.Name+" has both a public address (Gateway spec.endpoints) and a published key")
		return
	}
	theirs, ok := Elected(d)
	if !ok {
		c.note(d, NoteNoGateway, "no gateway of it is elected and has published its key")
		return
	}
	c.links = append(c.links, fleet.Link{
		Domain: d.Name, Gateway: hub.Node, Peer: theirs.Node, Path: PathInternet, MTU: mtu(hub, theirs),
	})
}

func mtu(a, b fleet.Gateway) int {
	return min(cmp.Or(a.MTU, DefaultMTU), cmp.Or(b.MTU, DefaultMTU))
}
