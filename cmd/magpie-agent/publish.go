// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/version"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/vxlan"
)

// fieldManager is the name under which this process owns fields of its Node
// and its LinkReport.
const fieldManager = "magpie-agent"

// published is what the node tells the cluster about itself.
type published struct {
	view   fleet.View
	node   *corev1.Node
	driver string // "kernel" or "userspace"
	peers  []peer
	now    time.Time

	conditions []v1alpha1.AgentCondition
	notes      []v1alpha1.AgentNote
}

// peer is one WireGuard peer as the kernel sees it.
type peer struct {
	key       string
	endpoint  netip.AddrPort
	handshake time.Time
	rx        int64     // bytes
	heard     time.Time // when it was last heard; zero: never
	live      bool
}

// manifests turns it into the two objects this node may write.
func manifests(p published) ([]plan.Manifest, error) {
	node, err := nodeManifest(p)
	if err != nil {
		return nil, err
	}
	report, err := reportManifest(p)
	if err != nil {
		return nil, err
	}
	return []plan.Manifest{node, report}, nil
}

// nodeManifest publishes the VTEPs in Flannel's annotations, which both ours
// and flanneld read, and says that the network is up.
func nodeManifest(p published) (plan.Manifest, error) {
	object := map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": p.view.Self.Node, "annotations": vxlan.Annotations(p.view, p.node.Annotations)},
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": string(corev1.NodeNetworkUnavailable), "status": string(corev1.ConditionFalse),
			"reason": "MagpieIsUp", "message": "magpie-agent serves the pods of this node",
			"lastTransitionTime": upSince(p).UTC().Format(time.RFC3339),
			"lastHeartbeatTime":  upSince(p).UTC().Format(time.RFC3339),
		}}},
	}
	return plan.ManifestOf(object, "status")
}

// upSince keeps the time of the condition we set earlier, so that a restarted
// agent writes nothing.
func upSince(p published) time.Time {
	for _, c := range p.node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionFalse && c.Reason == "MagpieIsUp" {
			return c.LastTransitionTime.Time
		}
	}
	return p.now
}

// reportManifest publishes the key of this node's links and what it sees of
// its peers.
func reportManifest(p published) (plan.Manifest, error) {
	report := v1alpha1.LinkReport{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "LinkReport"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.view.Self.Node,
			// A node that is removed takes its report along.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: p.node.Name, UID: p.node.UID}},
		},
		Spec: v1alpha1.LinkReportSpec{
			PublicKey: p.view.Self.LinkKey, Driver: p.driver, MTU: int32(p.view.LinkMTU()),
		},
	}
	for _, peer := range p.peers {
		state := linkState(p, peer)
		if state.Live {
			report.Status.Live++
		}
		report.Status.Links = append(report.Status.Links, state)
	}
	report.Status.Agent, report.Status.Conditions, report.Status.Notes = version.String(), p.conditions, p.notes
	report.Status.Peers = int32(len(p.peers))
	slices.SortFunc(report.Status.Links, func(a, b v1alpha1.LinkState) int { return strings.Compare(a.Node, b.Node) })
	return plan.ManifestOf(report, "")
}

func linkState(p published, peer peer) v1alpha1.LinkState {
	s := v1alpha1.LinkState{
		Node: "unknown", Path: "internet",
		Live: peer.live,
	}
	if !peer.live && !peer.heard.IsZero() {
		s.LastHeard = &metav1.Time{Time: peer.heard.UTC().Truncate(time.Second)}
	}
	if peer.endpoint.IsValid() {
		s.Endpoint = peer.endpoint.String()
	}
	for _, d := range p.view.Domains {
		for _, g := range d.Gateways {
			if g.PublicKey == peer.key {
				s.Node, s.Domain = g.Node, d.Name
			}
		}
	}
	return s
}
