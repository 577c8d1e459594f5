// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
)

// Objects is what the API says, as an agent reads it.
type Objects struct {
	// Node is the agent's own.
	Node *corev1.Node
	// Slices are all DomainSlices, in any order.
	Slices []v1alpha1.DomainSlice
}

// Host is what the node itself says.
type Host struct {
	Underlay4 Underlay
	Underlay6 Underlay
	// LinkKey is the base64 public key of the node's WireGuard device.
	LinkKey string
	// VTEPMAC and VTEPMAC6 are the MACs that our VXLAN devices have now; ""
	// where there is no device yet.
	VTEPMAC  string
	VTEPMAC6 string
	// Heard is where the peers of the WireGuard device are heard now.
	Heard []Heard
	// Now is when Host and Objects were read.
	Now time.Time
}
