// SPDX-License-Identifier: Apache-2.0

package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Types of an Endpoint.
const (
	// Proxy endpoints carry operation and maintenance (layer 7).
	Proxy = "proxy"
	// Tunnel endpoints carry pod traffic (layer 3).
	Tunnel = "tunnel"
)

// Values of GatewaySpec.ExposeType.
const (
	ExposePublicIP     = "PublicIP"
	ExposeLoadBalancer = "LoadBalancer"
)

// Reasons of the events that Raven emits on a Gateway.
const (
	EventElected = "ActiveEndpointElected"
	EventLost    = "ActiveEndpointLost"
)

// Gateway is one network domain and its gateway nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,path=gateways,shortName=gw,categories=yurt
// +kubebuilder:metadata:labels="app.kubernetes.io/part-of=magpie"
// +kubebuilder:printcolumn:name="ActiveEndpoint",type=string,JSONPath=`.status.activeEndpoints[*].nodeName`
// +kubebuilder:printcolumn:name="ExposeType",type=string,priority=1,JSONPath=`.spec.exposeType`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Gateway struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              GatewaySpec   `json:"spec,omitempty"`
	Status            GatewayStatus `json:"status,omitempty"`
}

// GatewaySpec says which nodes may carry the domain's links, and how.
//
// +kubebuilder:validation:XValidation:rule="!has(self.exposeType) || size(self.exposeType) == 0 || !has(self.endpoints) || self.endpoints.all(e, !has(e.underNAT) || !e.underNAT)",message="exposeType can be set only if no endpoint is underNAT"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoints) || self.endpoints.all(e, (has(e.underNAT) && e.underNAT) == (has(self.endpoints[0].underNAT) && self.endpoints[0].underNAT))",message="all endpoints must have the same underNAT"
// +kubebuilder:validation:XValidation:rule="!has(self.proxyConfig) || self.proxyConfig.Replicas <= (has(self.endpoints) ? size(self.endpoints.filter(e, has(e.type) && e.type == 'proxy')) : 0)",message="proxyConfig.Replicas must not exceed the number of proxy endpoints"
type GatewaySpec struct {
	// NodeSelector selects the nodes of the domain. Membership is decided by
	// the node label raven.openyurt.io/gateway; the field is kept because
	// Raven's own webhook fills it with that label.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// ProxyConfig of the layer 7 proxy.
	// +optional
	ProxyConfig ProxyConfiguration `json:"proxyConfig,omitempty"`
	// TunnelConfig of the layer 3 tunnel.
	// +optional
	TunnelConfig TunnelConfiguration `json:"tunnelConfig,omitempty"`
	// Endpoints are the candidates; those not listed are never elected.
	// +optional
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// ExposeType says how the gateway is reached from outside: "" (not at
	// all, or by the endpoints' publicIP), PublicIP or LoadBalancer.
	// +optional
	// +kubebuilder:validation:Enum="";PublicIP;LoadBalancer
	ExposeType string `json:"exposeType,omitempty"`
}

// ProxyConfiguration of the layer 7 proxy.
type ProxyConfiguration struct {
	// Replicas is how many proxy endpoints are active; 0 is off.
	// +kubebuilder:validation:Minimum=0
	Replicas int `json:"Replicas"`
	// ProxyHTTPPort is a comma list of ports proxied as HTTP: "10255,9445".
	// +optional
	ProxyHTTPPort string `json:"proxyHTTPPort,omitempty"`
	// ProxyHTTPSPort is a comma list of ports proxied as HTTPS: "10250,9100".
	// +optional
	ProxyHTTPSPort string `json:"proxyHTTPSPort,omitempty"`
}

// TunnelConfiguration of the layer 3 tunnel.
type TunnelConfiguration struct {
	// Replicas is how many tunnel endpoints are active; 0 is off.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1
	Replicas int `json:"Replicas"`
}

// Endpoint is one node that may be a gateway.
type Endpoint struct {
	// NodeName is the node.
	// +kubebuilder:validation:MinLength=1
	NodeName string `json:"nodeName"`
	// Type is "proxy" or "tunnel".
	// +kubebuilder:validation:Enum=proxy;tunnel
	Type string `json:"type"`
	// Port on which it is reached; 0 means 10262 (proxy) or 4500 (tunnel).
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int `json:"port,omitempty"`
	// UnderNAT is true if nobody can dial the node from outside.
	// +optional
	UnderNAT bool `json:"underNAT,omitempty"`
	// NATType is what Raven's agent measured; kept, not used.
	// +optional
	NATType string `json:"natType,omitempty"`
	// PublicIP at which the node is dialled from outside.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:Pattern=`^$|^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.|$)){4}$|^[0-9A-Fa-f]*:[0-9A-Fa-f:.]*$`
	PublicIP string `json:"publicIP,omitempty"`
	// PublicPort at which it is dialled, where that differs from Port.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	PublicPort int `json:"publicPort,omitempty"`
	// Config is private data of Raven's drivers; kept, not used.
	// +optional
	Config map[string]string `json:"config,omitempty"`
}

// GatewayStatus is what the manager made of it.
type GatewayStatus struct {
	// Nodes of the domain.
	// +optional
	Nodes []NodeInfo `json:"nodes,omitempty"`
	// ActiveEndpoints are copies of the elected endpoints.
	// +optional
	ActiveEndpoints []Endpoint `json:"activeEndpoints,omitempty"`
}

// NodeInfo is one node of the domain.
type NodeInfo struct {
	NodeName string `json:"nodeName"`
	// PrivateIP is the node's address inside its domain.
	PrivateIP string `json:"privateIP"`
	// Subnets are its pod CIDRs; on the elected tunnel endpoint also those of
	// annotation raven.openyurt.io/extra-allowed-source-cidrs.
	Subnets []string `json:"subnets"`
}

// GatewayList is a list of Gateways.
//
// +kubebuilder:object:root=true
type GatewayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gateway `json:"items"`
}
