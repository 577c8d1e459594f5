// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"cmp"
	"fmt"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
)

// Annotations returns what this node's Node says of its VTEPs, in Flannel's
// words: magpie-manager reads them for the DomainSlices, and nodes that run
// flanneld read them themselves. given are the annotations the Node has, of
// which a user may have written the -overwrite ones.
// Source: flannel pkg/subnet/kube/annotations.go.
func Annotations(v fleet.View, given map[string]string) map[string]string {
	out := map[string]string{
		api.FlannelBackendType:       "vxlan",
		api.FlannelKubeSubnetManager: "true",
	}
	if _, ok := v.Self.PodCIDR(false); ok && v.Self.Underlay4.OK() {
		out[api.FlannelBackendData] = backendData(v.Settings.VNI, v.Self.VTEPMAC)
		out[api.FlannelPublicIP] = cmp.Or(given[api.FlannelPublicIPOverwrite], v.Self.Underlay4.Addr.String())
	}
	if _, ok := v.Self.PodCIDR(true); ok && v.Self.Underlay6.OK() {
		out[api.FlannelBackendV6Data] = backendData(v.Settings.VNI, v.Self.VTEPMAC6)
		out[api.FlannelPublicIPv6] = cmp.Or(given[api.FlannelPublicIPv6Overwr], v.Self.Underlay6.Addr.String())
	}
	return out
}

// backendData is written byte for byte as flanneld does: it splits the text
// and does not parse it.
func backendData(vni int, mac string) string {
	return fmt.Sprintf(`{"VNI":%d,"VtepMAC":"%s"}`, vni, mac)
}
