// SPDX-License-Identifier: Apache-2.0

package api

// Labels and annotations of OpenYurt, Raven and ACK Edge that we read and write.
const (
	// LabelGateway puts a node into the domain of the Gateway of that name.
	LabelGateway = "raven.openyurt.io/gateway"
	// LabelPool puts a node into the NodePool of that name.
	LabelPool = "apps.openyurt.io/nodepool"
	// LabelPoolACK is ACK's id of a node pool; read where LabelPool is absent.
	LabelPoolACK = "alibabacloud.com/nodepool-id"
	// LabelEdgeWorker and LabelEdgeWorkerACK are "true" on edge nodes.
	LabelEdgeWorker    = "openyurt.io/is-edge-worker"
	LabelEdgeWorkerACK = "alibabacloud.com/is-edge-worker"
	// LabelHostNetwork is "true" on nodes whose pool allows hostNetwork pods only.
	LabelHostNetwork = "nodepool.openyurt.io/hostnetwork"
	// LabelPoolType is the type of the node's pool, in lower case: "edge" or "cloud".
	LabelPoolType = "nodepool.openyurt.io/type"
	// LabelInterconnection says how a pool reaches the cloud: "normal" (the
	// internet) or "private" (Express Connect). An annotation on pools and a
	// label on nodes; both are read.
	LabelInterconnection = "alibabacloud.com/interconnection-mode"
	// AnnotationPrevious on a Node: what its pool says, as OpenYurt's manager
	// writes it. Read where there is no AnnotationPoolRecord.
	AnnotationPrevious = "nodepool.openyurt.io/previous-attributes"
	// AnnotationExtraCIDRs on a Gateway: comma-separated CIDRs that its
	// domain owns beside the pod CIDRs of its nodes.
	AnnotationExtraCIDRs = "raven.openyurt.io/extra-allowed-source-cidrs"
	// AnnotationTopology on a Service: kubernetes.io/hostname,
	// openyurt.io/nodepool or kubernetes.io/zone.
	AnnotationTopology = "openyurt.io/topologyKeys"
	// AnnotationListen on a Service: the pools in which its NodePort is open.
	AnnotationListen = "nodeport.openyurt.io/listen"
)

// Values of LabelInterconnection.
const (
	InterconnectionNormal  = "normal"
	InterconnectionPrivate = "private"
)

// Annotations of Flannel on a Node.
// Source: flannel pkg/subnet/kube/annotations.go.
const (
	FlannelPrefix            = "flannel.alpha.coreos.com/"
	FlannelBackendType       = FlannelPrefix + "backend-type"
	FlannelBackendData       = FlannelPrefix + "backend-data"
	FlannelBackendV6Data     = FlannelPrefix + "backend-v6-data"
	FlannelPublicIP          = FlannelPrefix + "public-ip"
	FlannelPublicIPv6        = FlannelPrefix + "public-ipv6"
	FlannelPublicIPOverwrite = FlannelPrefix + "public-ip-overwrite"
	FlannelPublicIPv6Overwr  = FlannelPrefix + "public-ipv6-overwrite"
	FlannelNodePublicIP      = FlannelPrefix + "node-public-ip"
	FlannelNodePublicIPv6    = FlannelPrefix + "node-public-ipv6"
	FlannelKubeSubnetManager = FlannelPrefix + "kube-subnet-manager"
)

// ConfigMap of Raven with the two switches, and its keys.
const (
	RavenConfigNamespace = "kube-system"
	RavenConfigName      = "raven-cfg"
	RavenEnableL3        = "enable-l3-tunnel"
	RavenEnableL7        = "enable-l7-proxy"
)

// The Service in front of magpie-gateway, in the namespace of both, and the name
// of the port that agents dial. Its load balancer's addresses are published to
// every agent.
const (
	TunnelServiceName = "magpie-gateway"
	TunnelServicePort = "agents"
)

// The O&M tunnel's own authority: a Secret that only the manager reads, and a
// ConfigMap with what all trust.
const (
	TunnelCANamespace = "kube-system"
	TunnelCAName      = "magpie-tunnel-ca"
	// TunnelCABundle is the key of the ConfigMap: the bundle. It holds two
	// certificates while the authority is rotated.
	TunnelCABundle = "ca.crt"
	// AnnotationRotate on the Secret: a time (RFC 3339). An authority that is
	// older is replaced, make before break, within two days.
	AnnotationRotate = "net.magpie.dev/rotate"
	// SignerAgent and SignerGateway are the signers that the manager serves.
	SignerAgent   = "net.magpie.dev/tunnel-agent"
	SignerGateway = "net.magpie.dev/tunnel-gateway"
	// AccountAgent and AccountGateway are the ServiceAccounts that may ask them.
	AccountAgent   = "magpie-agent"
	AccountGateway = "magpie-gateway"
)

// What the API server says of the token of a pod's ServiceAccount.
// Source: k8s.io/apiserver pkg/authentication/serviceaccount/util.go.
const (
	TokenNode    = "authentication.kubernetes.io/node-name"
	TokenNodeUID = "authentication.kubernetes.io/node-uid"
	TokenPod     = "authentication.kubernetes.io/pod-name"
)

// Our own group and its labels. As little as possible: see docs/reference/api.md.
const (
	GroupMagpie = "net.magpie.dev"
	// LabelDomain on a DomainSlice names the domain it is a part of.
	LabelDomain = GroupMagpie + "/domain"
	// AnnotationPoolRecord on a Node, as JSON: what its pool gave it, which may
	// be taken back, and what of its own that hides, which then comes back.
	AnnotationPoolRecord = "net.magpie.dev/pool-record"
	// LabelManagedBy marks objects the manager made and may delete again.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	ManagedBy      = "magpie-manager"
)

// GatewayCloud is the name of the Gateway of the cloud domain, as ACK calls it.
const GatewayCloud = "gw-cloud"

// GatewayPrefix begins the name of a Gateway that the manager makes for a pool.
const GatewayPrefix = "gw-"

// AnnotationSpecHash on a Gateway that the manager made: the hash of the spec
// as it wrote it. Where the spec no longer has that hash somebody edited it,
// and from then on it is theirs.
const AnnotationSpecHash = GroupMagpie + "/spec-hash"

// AnnotationHubWas on a DaemonSet of kube-proxy that "magpiectl hub enable" has
// pointed at the hub: the volume, in JSON, that "magpiectl hub disable" puts
// back.
const AnnotationHubWas = GroupMagpie + "/hub-was"
