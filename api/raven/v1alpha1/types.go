// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Gateway is one network domain and its gateway nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=gateways,shortName=gw,categories=yurt
// +kubebuilder:printcolumn:name="ActiveEndpoint",type=string,JSONPath=`.status.activeEndpoints[*].nodeName`
type Gateway struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +kubebuilder:pruning:PreserveUnknownFields
	Spec GatewaySpec `json:"spec,omitempty"`
	// +kubebuilder:pruning:PreserveUnknownFields
	Status GatewayStatus `json:"status,omitempty"`
}

// GatewaySpec says which nodes may carry the domain's links.
type GatewaySpec struct {
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Endpoints are the candidates.
	// +optional
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// ExposeType is "" or LoadBalancer.
	// +optional
	// +kubebuilder:validation:Enum="";LoadBalancer;PublicIP
	ExposeType string `json:"exposeType,omitempty"`
}

// Endpoint is one node that may be a gateway.
//
// +kubebuilder:pruning:PreserveUnknownFields
type Endpoint struct {
	// +kubebuilder:validation:MinLength=1
	NodeName string `json:"nodeName"`
	// +optional
	UnderNAT bool `json:"underNAT,omitempty"`
	// +optional
	PublicIP string `json:"publicIP,omitempty"`
	// +optional
	Config map[string]string `json:"config,omitempty"`
}

// GatewayStatus of the older form.
type GatewayStatus struct {
	// +optional
	Nodes []NodeInfo `json:"nodes,omitempty"`
	// ActiveEndpoint stays empty: see the package comment.
	// +optional
	ActiveEndpoint *Endpoint `json:"activeEndpoint,omitempty"`
}

// NodeInfo is one node of the domain.
type NodeInfo struct {
	NodeName  string   `json:"nodeName"`
	PrivateIP string   `json:"privateIP"`
	Subnets   []string `json:"subnets"`
}

// GatewayList is a list of Gateways.
//
// +kubebuilder:object:root=true
type GatewayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gateway `json:"items"`
}
