// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
)

// netConfig is the network configuration as the runtime passes it: our part of
// the conflist with name, version and capability arguments put in.
type netConfig struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	IPAM       struct {
		Type string `json:"type"`
	} `json:"ipam"`
	DNS           types.DNS       `json:"dns"`
	PrevResult    json.RawMessage `json:"prevResult"`
	RuntimeConfig runtimeConfig   `json:"runtimeConfig"`
	Args          struct {
		CNI struct {
			IPs []string `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
	// Valid lists every attachment that the runtime knows; GC only.
	Valid *[]Attachment `json:"cni.dev/valid-attachments"`
}

// Attachment is an entry of a GC call.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// runtimeConfig has the capability arguments.
// Source: CNI conventions, "Dynamic Plugin specific fields".
type runtimeConfig struct {
	PortMappings []portMapping `json:"portMappings"`
	Bandwidth    struct {
		IngressRate  uint64 `json:"ingressRate"`
		IngressBurst uint64 `json:"ingressBurst"`
		EgressRate   uint64 `json:"egressRate"`
		EgressBurst  uint64 `json:"egressBurst"`
	} `json:"bandwidth"`
	IPs      []string       `json:"ips"`
	MAC      string         `json:"mac"`
	IPRanges [][]rangeEntry `json:"ipRanges"`
}

type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

type rangeEntry struct {
	Subnet     netip.Prefix `json:"subnet"`
	RangeStart netip.Addr   `json:"rangeStart"`
	RangeEnd   netip.Addr   `json:"rangeEnd"`
}
