// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"fmt"

	"github.com/magpie-edge/magpie/cni/shim"
)

// Names by which a runtime knows us.
const (
	NetworkName = "magpie"     // in the conflist, and in the runtime's cache
	Program     = "magpie-cni" // in the runtime's CNI bin_dir
)

// Conflist returns the network configuration list for the runtime, one plugin
// with every capability it serves.
//
// It names version 1.1.0 because STATUS exists since then: containerd 2 asks
// it, and the node is Ready only while we can serve. Containerd before 2.0 and
// CRI-O before 1.31 know CNI up to 1.0.0 and refuse a list of 1.1.0;
// cniVersions lists what else may be chosen for those that read it.
// Source: CNI specification 1.1.0, section 1.
func Conflist() ([]byte, error) {
	b, err := json.MarshalIndent(struct {
		CNIVersion  string   `json:"cniVersion"`
		CNIVersions []string `json:"cniVersions"`
		Name        string   `json:"name"`
		Plugins     []plugin `json:"plugins"`
	}{
		CNIVersion:  newest(),
		CNIVersions: shim.Versions,
		Name:        NetworkName,
		Plugins: []plugin{{Type: Program, Capabilities: capabilities{
			PortMappings: true, Bandwidth: true, IPs: true, MAC: true, IPRanges: true,
		}}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode conflist: %w", err)
	}
	return append(b, '\n'), nil
}

type plugin struct {
	Type         string       `json:"type"`
	Capabilities capabilities `json:"capabilities"`
}

type capabilities struct {
	PortMappings bool `json:"portMappings"`
	Bandwidth    bool `json:"bandwidth"`
	IPs          bool `json:"ips"`
	MAC          bool `json:"mac"`
	IPRanges     bool `json:"ipRanges"`
}
