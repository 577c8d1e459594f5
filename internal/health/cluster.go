// SPDX-License-Identifier: Apache-2.0

package health

import "slices"

// Codes of what is seen from the cluster's side, or on a node by whoever looks
// at it without its agent.
const (
	// CRDsMissing: kinds of ours are not installed. Subject: "cluster".
	CRDsMissing Code = "crds-missing"
	// ManagerDown: no magpie-manager leads. Subject: "cluster".
	ManagerDown Code = "manager-down"
	// AgentMissing: no magpie-agent is ready on a node that is. Subject: "node NAME".
	AgentMissing Code = "agent-missing"
	// AgentVersions: agents of several versions run. Subject: "cluster".
	AgentVersions Code = "agent-versions"
	// LinkBlocked: the ends of a link have never heard each other. Subject:
	// "link A to B".
	LinkBlocked Code = "link-blocked"
	// LinkDown: an end of a link no longer hears the other. Subject: as above.
	LinkDown Code = "link-down"
	// LinkUnreported: neither end reports the link. Subject: as above.
	LinkUnreported Code = "link-unreported"
	// GatewayStuck: the active gateway of a domain is not Ready while another
	// candidate is. Subject: "domain NAME".
	GatewayStuck Code = "gateway-stuck"
	// NodeNotReady: Kubernetes says so. Subject: "node NAME".
	NodeNotReady Code = "node-not-ready"
	// SliceInvalid: a DomainSlice says what nobody can follow. Subject: "domain slices".
	SliceInvalid Code = "slice-invalid"
	// AddressOverlap: addresses of nodes or Services lie in a range of pods.
	// Subject: "range CIDR".
	AddressOverlap Code = "address-overlap"
	// MTUMismatch: pods send larger packets than a link carries. Subject: "link A to B".
	MTUMismatch Code = "mtu-mismatch"
	// KubeProxyDown: kube-proxy is not ready on nodes. Subject: "node NAME".
	KubeProxyDown Code = "kube-proxy-down"
	// DNSDown: the cluster's DNS has no endpoint that is ready. Subject: "cluster".
	DNSDown Code = "dns-down"
	// HubGone: kube-proxy or CoreDNS are pointed at a hub that the agents do not
	// serve. Subject: "cluster".
	HubGone Code = "hub-gone"
	// HubOff: Services have annotations that only a hub follows, and the agents
	// serve none. Subject: "cluster".
	HubOff Code = "hub-off"
	// HubUnread: the agents serve a hub, and kube-proxy or CoreDNS do not read
	// through it. Subject: "cluster".
	HubUnread Code = "hub-unread"
	// ListenUnknownPool: nodeport.openyurt.io/listen names a pool that does not
	// exist. Subject: "pool NAME".
	ListenUnknownPool Code = "listen-unknown-pool"
	// PinUnserved: a pinned Service has no ready endpoint in a pool that has
	// nodes. Subject: "cluster".
	PinUnserved Code = "pin-unserved"
	// PoolEmpty: no node is in a NodePool. Subject: "cluster".
	PoolEmpty Code = "pool-empty"
	// TunnelGatewayDown: an instance of magpie-gateway, or all, do not answer.
	// Subject: "gateway POD" or "gateway".
	TunnelGatewayDown Code = "tunnel-gateway-down"
	// TunnelGatewayIdle: an instance has no session while others have.
	// Subject: "gateway POD".
	TunnelGatewayIdle Code = "tunnel-gateway-idle"
	// TunnelRelayed: a neighbour carries the node's sessions. Subject: "node NAME".
	TunnelRelayed Code = "tunnel-relayed"
	// TunnelRefusals: an instance refuses streams. Subject: "gateway POD".
	TunnelRefusals Code = "tunnel-refusals"

	// NetworkdRoutes: systemd-networkd deletes routes it did not make.
	// Subject: "node NAME"; so with all that follow.
	NetworkdRoutes Code = "networkd-removes-routes"
	// ForwardingOff: the kernel does not forward packets.
	ForwardingOff Code = "forwarding-off"
	// CNIShadowed: the container runtime uses another CNI configuration.
	CNIShadowed Code = "cni-shadowed"
	// AgentSilent: nothing answers on the agent's health port.
	AgentSilent Code = "agent-silent"
)

// Cluster returns the conditions that magpiectl doctor finds from the cluster's
// side, causes before effects.
func Cluster() []Condition {
	return []Condition{
		{
			Code: CRDsMissing, Title: "kinds of Magpie are not installed in the cluster", Severity: Error,
			Why: "Nothing of Magpie can work without them.",
		},
		{
			Code: ManagerDown, Title: "no magpie-manager leads", Severity: Error, DependsOn: []Code{CRDsMissing},
			Why: "What runs goes on, but no node joins, no gateway is replaced and no certificate is renewed.",
		},
		{
			Code: AgentMissing, Title: "no magpie-agent is ready on the node", Severity: Error, DependsOn: []Code{CRDsMissing},
			Why: "No pod starts there, and nothing repairs or follows its network; with WireGuard in user space its links are down.",
		},
		{
			Code: AgentVersions, Title: "agents of several versions run", Severity: Warning,
			Why: "Fine during an upgrade; if it stays, some nodes lack fixes, and few have tried that mixture.",
		},
		{
			Code: GatewayStuck, Title: "a gateway that is not Ready is not replaced", Severity: Error, DependsOn: []Code{ManagerDown},
			Why: "The links of the domain are down although another of its nodes could carry them.",
		},
		{
			Code: LinkBlocked, Title: "the gateways of a link have never heard each other", Severity: Error, DependsOn: []Code{AgentMissing, ManagerDown},
			Why: "Pods of the site reach no other domain, nor the other way round.",
		},
		{
			Code: LinkDown, Title: "the gateways of a link no longer hear each other", Severity: Error, DependsOn: []Code{AgentMissing, GatewayStuck},
			Why: "Pods of the site reach no other domain, nor the other way round.",
		},
		{
			Code: LinkUnreported, Title: "neither gateway reports the link", Severity: Error, DependsOn: []Code{AgentMissing, ManagerDown},
			Why: "Nobody knows whether the site is connected.",
		},
		{
			Code: NodeNotReady, Title: "the node is not Ready", Severity: Error, DependsOn: []Code{LinkDown, LinkBlocked, AgentMissing},
			Why: "Kubernetes starts no pods there and after five minutes replaces those it had.",
		},
		{
			Code: SliceInvalid, Title: "part of a DomainSlice cannot be used", Severity: Warning,
			Why: "What it names is left out: other nodes do not reach its pods.",
		},
		{
			Code: AddressOverlap, Title: "other addresses lie in a range of pods", Severity: Error,
			Why: "Packets for those addresses go to pods instead, from every node that knows the range.",
		},
		{
			Code: MTUMismatch, Title: "pods may send larger packets than a link carries", Severity: Warning,
			Why: "TCP adapts; large UDP packets need ICMP, which many a firewall drops.",
		},
		{
			Code: KubeProxyDown, Title: "kube-proxy is not ready on the node", Severity: Error, DependsOn: []Code{NodeNotReady, LinkDown, LinkBlocked},
			Why: "Pods there reach pods, but Services go to endpoints that may be gone, or nowhere.",
		},
		{
			Code: DNSDown, Title: "the cluster's DNS has no endpoint that is ready", Severity: Error,
			Why: "Pods find nothing by name; connections by address work.",
		},
	}
}

// Services returns those of what Services ask for and who follows it, causes
// before effects.
func Services() []Condition {
	return []Condition{
		{
			Code: HubGone, Title: "kube-proxy or CoreDNS read through a hub that is not served", Severity: Error,
			Why: "They go on with what they know; restarted, they find nothing, and Services of the node lead nowhere.",
		},
		{
			Code: HubOff, Title: "Services have annotations that only a hub follows, and there is none", Severity: Warning,
			Why: "Their traffic goes to every site, and every node opens their NodePorts.",
		},
		{
			Code: HubUnread, Title: "kube-proxy or CoreDNS do not read through the hub", Severity: Warning,
			Why: "openyurt.io/topologyKeys and nodeport.openyurt.io/listen have no effect on them, and restarted while the cloud is away they find nothing.",
		},
		{
			Code: ListenUnknownPool, Title: "nodeport.openyurt.io/listen names a pool that does not exist", Severity: Warning,
			Why: "If it is a typing mistake, the pool that is meant does not open the NodePort, or opens one that it should not.",
		},
		{
			Code: PinUnserved, Title: "a pinned Service has no ready endpoint in some pools", Severity: Info,
			Why: "Right for a Service of one site; clients of it in those pools get no answer, and never one from elsewhere.",
		},
		{
			Code: PoolEmpty, Title: "a pool has no node", Severity: Info,
			Why: "Pods that are to run there wait, and a Service that is pinned to it serves nobody.",
		},
	}
}

// Tunnel returns those of the O&M tunnel that are seen from the cluster's side,
// causes before effects.
func Tunnel() []Condition {
	return []Condition{
		{
			Code: TunnelGatewayDown, Title: "a magpie-gateway does not answer", Severity: Error, DependsOn: []Code{CRDsMissing},
			Why: "Streams on it are lost; without any, kubectl logs and exec do not reach sites. Pods are not affected.",
		},
		{
			Code: TunnelGatewayIdle, Title: "a magpie-gateway has no session", Severity: Warning, DependsOn: []Code{TunnelGatewayDown},
			Why: "Callers that it gets take a detour through another instance, and there is nothing to fall back on.",
		},
		{
			Code: TunnelRelayed, Title: "a neighbour carries the node's sessions of the O&M tunnel", Severity: Info,
			Why: "The node does not reach a gateway itself; kubectl logs and exec work as long as the neighbour does.",
		},
		{
			Code: TunnelRefusals, Title: "a magpie-gateway refuses streams", Severity: Info,
			Why: "Somebody asks for what he may not have, or a program needs a port that is not on the list.",
		},
	}
}

// Machine returns the conditions that magpiectl doctor --node finds, causes
// before effects.
func Machine() []Condition {
	return []Condition{
		{
			Code: AgentSilent, Title: "nothing answers on the agent's health port", Severity: Error,
			Why: "No pod starts on this node, and nothing repairs its network.",
		},
		{
			Code: NetworkdRoutes, Title: "systemd-networkd removes routes it did not make", Severity: Error,
			Why: "Whenever it restarts or a lease is renewed, pods of this node are cut off until the agent repairs it.",
		},
		{
			Code: ForwardingOff, Title: "the kernel does not forward packets", Severity: Error, DependsOn: []Code{AgentSilent},
			Why: "No packet gets from a pod to the network.",
		},
		{
			Code: CNIShadowed, Title: "the container runtime uses another CNI configuration", Severity: Error,
			Why: "New pods get their network from another plug-in, with addresses that nobody else routes.",
		},
	}
}

// All returns every condition.
func All() []Condition {
	return slices.Concat(Conditions(), Cluster(), Services(), Tunnel(), Machine())
}
