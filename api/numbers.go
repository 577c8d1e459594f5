// SPDX-License-Identifier: Apache-2.0

package api

// Ports. An operator opens the first three and nothing else.
const (
	// PortLinks is the UDP port on which gateway nodes carry WireGuard.
	// Raven uses the same number for its tunnel, so existing firewall rules
	// and security groups stay valid.
	PortLinks = 4500
	// PortTunnel is the TCP port on which magpie-gateway accepts agents.
	PortTunnel = 443
	// PortVXLAN is the UDP port of the overlay inside one domain.
	// Source: the Linux default, used by Flannel; not RFC 7348's 4789.
	PortVXLAN = 8472
	// PortAgentHealth serves /healthz, /readyz and /metrics of magpie-agent on
	// the node. Raven's agent uses 10275 and 10265; 10280 to 10284 are ACK's.
	PortAgentHealth = 10291
	// PortManagerHealth serves the same for magpie-manager.
	PortManagerHealth = 10292
	// PortManagerWebhook serves admission webhooks of magpie-manager.
	PortManagerWebhook = 10293
	// PortGateway is where magpie-gateway's container listens for agents; the
	// Service maps PortTunnel to it.
	PortGateway = 10443
	// PortGatewayConnect and PortGatewayHTTP are entries of the O&M tunnel for an
	// API server (HTTPConnect with mTLS) and for Prometheus and metrics-server.
	PortGatewayConnect = 10294
	PortGatewayHTTP    = 10295
	// PortGatewayHealth serves health, metrics and sessions of magpie-gateway.
	PortGatewayHealth = 10296
	// PortTunnelRelay is where a gateway node of a site takes its neighbours'
	// connections to magpie-gateway; inside the site only.
	PortTunnelRelay = 10297
	// PortHub is the TCP port of the hub, on HubLoopback and HubAddress only.
	// YurtHub uses 10261, 10267 and 10268.
	PortHub = 10298
	// PortKubelet is the kubelet's on each node, and that of the entry which
	// routes by server name, where callers believe they reach a kubelet.
	PortKubelet = 10250
)

// PortHello is the UDP port of the datagrams with which gateways show each
// other that they live: the discard service, where nobody listens.
// Source: RFC 863.
const PortHello = 9

// Liveness of links, in seconds.
const (
	// LinkHello is how often a gateway says hello to each peer that carries
	// traffic for it.
	LinkHello = 10
	// LinkSilence is after how long without a byte such a peer is not live:
	// three hellos. Each end hears the other's hellos, and WireGuard's own
	// answers to its own.
	LinkSilence = 3 * LinkHello
)

// VNI is the VXLAN network identifier of the overlay: Flannel's, on purpose.
const VNI = 1

// Encapsulation overheads in bytes, added to the inner packet.
const (
	// OverheadVXLAN4 is outer IPv4 20 + UDP 8 + VXLAN 8 + inner Ethernet 14.
	// Source: RFC 7348 section 4.3.
	OverheadVXLAN4 = 50
	// OverheadVXLAN6 is the same over IPv6.
	OverheadVXLAN6 = 70
	// OverheadWireGuard is outer IPv6 40 + UDP 8 + WireGuard 32: the larger
	// family, because an endpoint may roam from IPv4 to IPv6.
	// Source: https://www.wireguard.com/papers/wireguard.pdf section 5.4.6.
	OverheadWireGuard = 80
)

// MTU limits in bytes.
const (
	// MTUMin is the least an operator may ask for: IPv6's minimum.
	// Source: RFC 8200 section 5.
	MTUMin = 1280
	// MTUMax is the largest Ethernet jumbo frame we plan for.
	MTUMax = 9500
)

// Route and rule protocol numbers (rtnetlink RTPROT_*), one per owner: this is
// how the kernel tells our routes from everybody else's.
// Taken by others: 186-192 routing daemons, 193-199 FRR, 80 Calico.
const (
	ProtoVXLAN  = 201
	ProtoCNI    = 202
	ProtoMesh   = 203
	ProtoRouted = 204
	ProtoHub    = 205
	ProtoFence  = 206
)

// Routing tables and rule priorities reserved for us. The first version keeps
// everything in the main table; routed mode and several uplinks will use these.
// Taken by others: Terway priorities 512 and 2048, Raven table 9027 priority
// 100, Kilo table 1107, Tailscale table 52 priorities 5210-5270.
const (
	TableMain     = 254
	TableLinks    = 2470
	PriorityLinks = 2470
)

// Packet marks. We use bits 20 and 21 with a mask, never a whole mark.
// Taken by others: kube-proxy 0x4000 and 0x8000, Raven 0x40, Cilium 0x0f00,
// Tailscale 0xff0000, Calico 0xff000000 (bits may be shared only with a mask).
const (
	MarkMask     = 0x0030_0000
	MarkHostPort = 0x0010_0000
)

// MarkMasquerade is kube-proxy's own mark: packets that carry it are
// masqueraded by kube-proxy and not looked at by us.
// Source: kubernetes pkg/proxy, default of --iptables-masquerade-bit.
const MarkMasquerade = 0x4000

// Names of kernel objects. Interfaces begin with "mag".
const (
	DeviceVXLAN4 = "mag-vxlan"
	DeviceVXLAN6 = "mag-vxlan6"
	DeviceMesh   = "mag-wg0"
	// DeviceHub carries HubAddress; DeviceHubPeer is the other end of its veth
	// pair, because a pair has two, and carries nothing.
	DeviceHub     = "mag-hub"
	DeviceHubPeer = "mag-hub-peer"
	// DevicePodPrefix begins the host side of a pod's veth pair; eleven
	// characters of a hash follow (IFNAMSIZ is 16 with the final NUL).
	DevicePodPrefix = "magp"
	// DeviceShapePrefix begins the ifb device that shapes a pod's egress.
	DeviceShapePrefix = "magi"
	// TablePrefix begins our nftables tables, ChainPrefix our iptables chains.
	TablePrefix = "magpie-"
	ChainPrefix = "MAGPIE-"
)

// The pod's next hop: a link-local address that no host owns; a permanent
// neighbour entry in the pod points it at the host side of the veth pair.
const (
	PodGateway4 = "169.254.1.1"
	PodGateway6 = "fe80::1"
)

// Where callers on a node reach the hub. They are the same on every node, so
// that one manifest serves all.
// Link-local addresses taken by others: 169.254.1.1 Calico and our PodGateway4,
// 169.254.2.1 YurtHub, 169.254.20.10 node-local-dns, 169.254.169.254 (and
// .169.123, .169.253, .170.2, .170.23) metadata services of clouds, 169.254.0.252
// and .253 Antrea, 169.254.0.0/17 OVN-Kubernetes, 169.254.169.252 GKE; Alibaba's
// metadata is 100.100.100.200.
const (
	// HubLoopback is for what shares the node's network: kube-proxy.
	HubLoopback = "127.0.0.1"
	// HubAddress is for pods: the host answers for it, and it never leaves it.
	HubAddress = "169.254.102.98"
)

// Places on a node.
const (
	DirState   = "/var/lib/magpie"
	DirRun     = "/run/magpie"
	SocketCNI  = "/run/magpie/cni.sock"
	FileView   = "/var/lib/magpie/fleet.json"
	FileLedger = "/var/lib/magpie/ledger.db"
	FileKey    = "/var/lib/magpie/link.key"
	// DirHub is what callers of the hub mount, readable for all: the authority to
	// trust and files that point at the hub. DirHubState is the hub's own.
	DirHub      = "/var/lib/magpie/hub"
	DirHubState = "/var/lib/magpie/hub-state"
	FileCNIConf = "05-magpie.conflist"
)
