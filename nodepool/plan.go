// SPDX-License-Identifier: Apache-2.0

package nodepool

import "github.com/magpie-edge/magpie/plan"

// Plan is what the API should hold, and why some of it is missing.
type Plan struct {
	Manifests []plan.Manifest
	Notes     []plan.Note
}

// Codes of the Notes of this package.
const (
	NoteEndpointStrange = "endpoint-not-in-domain"
	NoteGatewayAddress  = "gateway-without-address"
	NoteGatewayMissing  = "gateway-missing"
	NoteLinksOff        = "links-off"
	NoteTunnelOff       = "tunnel-off"
	NoteForeignBackend  = "foreign-flannel-backend"
	NoteBadAnnotation   = "bad-flannel-annotation"
	NoteVNIMismatch     = "vni-mismatch"
	NoteBadCIDR         = "bad-cidr"
	NoteCIDROverlap     = "cidr-overlap"
	NoteExposeType      = "expose-type-not-supported"
	NoteProxyOff        = "proxy-off"
	NoteProxyAddress    = "proxy-without-address"
	NotePoolRefused     = "pool-attribute-refused"
	NotePoolClash       = "pool-attribute-clash"
	NotePoolRecord      = "pool-record-unreadable"
	NotePoolLeaders     = "pool-leaders-unused"
)

func (p *Plan) add(object any, subresource string) error {
	m, err := plan.ManifestOf(object, subresource)
	if err != nil {
		return err
	}
	p.Manifests = append(p.Manifests, m)
	return nil
}
