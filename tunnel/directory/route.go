// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"errors"
	"net/netip"
)

// Route is one way to what was asked for.
type Route struct {
	// Node whose agent carries the stream.
	Node string
	// Addr is a pod of that node; the zero Addr is the node itself.
	Addr netip.Addr
	Port uint16
	// Direct is where the gateway may dial by itself, without the tunnel: nodes
	// and pods of the cloud and of pools on a private line. Zero: nowhere.
	Direct netip.AddrPort
}

// Reasons why something does not resolve.
var (
	ErrUnknown   = errors.New("no node, pod or Service")
	ErrAmbiguous = errors.New("several nodes have this address: use the node's name")
	ErrForbidden = errors.New("never reached through the tunnel")
	ErrNoBackend = errors.New("the Service has no ready endpoint on a node")
)
