// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values of NodePoolSpec.Type.
const (
	Edge  = "Edge"
	Cloud = "Cloud"
)

// NodePool is a set of nodes that are managed alike.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,path=nodepools,shortName=np,categories=yurt
// +kubebuilder:metadata:labels="app.kubernetes.io/part-of=magpie"
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`,description="The type of nodepool"
// +kubebuilder:printcolumn:name="ReadyNodes",type=integer,JSONPath=`.status.readyNodeNum`,description="The number of ready nodes in the pool"
// +kubebuilder:printcolumn:name="NotReadyNodes",type=integer,JSONPath=`.status.unreadyNodeNum`
// +kubebuilder:printcolumn:name="LeaderNodes",type=integer,JSONPath=`.status.leaderNum`,description="The leader node of the nodepool",priority=1
// +kubebuilder:printcolumn:name="HostNetwork",type=boolean,JSONPath=`.spec.hostNetwork`,description="All pods of the pool use the host's network",priority=1
// +kubebuilder:printcolumn:name="Line",type=string,JSONPath=`.metadata.annotations.alibabacloud\.com/interconnection-mode`,description="How the pool reaches the cloud: normal (the internet) or private",priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodePool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// The default makes spec.type appear even where spec is left out.
	// +kubebuilder:default={type: "Edge"}
	Spec   NodePoolSpec   `json:"spec,omitempty"`
	Status NodePoolStatus `json:"status,omitempty"`
}

// NodePoolSpec says what the pool is and what its nodes get.
//
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",message="type is immutable"
// +kubebuilder:validation:XValidation:rule="(has(self.hostNetwork) && self.hostNetwork) == (has(oldSelf.hostNetwork) && oldSelf.hostNetwork)",message="hostNetwork is immutable"
// +kubebuilder:validation:XValidation:rule="(has(self.interConnectivity) && self.interConnectivity) == (has(oldSelf.interConnectivity) && oldSelf.interConnectivity)",message="interConnectivity is immutable"
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || !['apps.openyurt.io/nodepool', 'alibabacloud.com/nodepool-id', 'nodepool.openyurt.io/type', 'nodepool.openyurt.io/hostnetwork', 'kubernetes.io/hostname', 'kubernetes.io/os', 'kubernetes.io/arch'].exists(k, k in self.labels)",message="labels cannot say which node or pool it is: apps.openyurt.io/nodepool, alibabacloud.com/nodepool-id, nodepool.openyurt.io/type, nodepool.openyurt.io/hostnetwork, kubernetes.io/hostname, kubernetes.io/os, kubernetes.io/arch"
// +kubebuilder:validation:XValidation:rule="self.type != 'Cloud' || !has(self.hostNetwork) || !self.hostNetwork",message="a Cloud pool cannot be hostNetwork"
// +kubebuilder:validation:XValidation:rule="!has(self.leaderElectionStrategy) || self.leaderElectionStrategy != 'mark' || (has(self.leaderNodeLabelSelector) && size(self.leaderNodeLabelSelector) > 0)",message="leaderElectionStrategy mark needs leaderNodeLabelSelector"
type NodePoolSpec struct {
	// Type is Edge or Cloud.
	// +optional
	// +kubebuilder:default=Edge
	// +kubebuilder:validation:Enum=Edge;Cloud
	Type string `json:"type,omitempty"`
	// HostNetwork is true if all pods of the pool use the host's network.
	// +optional
	HostNetwork bool `json:"hostNetwork,omitempty"`
	// InterConnectivity is true if the nodes of the pool reach each other at
	// layer 3.
	// +optional
	InterConnectivity bool `json:"interConnectivity,omitempty"`
	// Labels, Annotations and Taints that every node of the pool gets, and
	// loses when the pool or the node's membership no longer has them. A label
	// or annotation of the node's own is replaced and comes back then; a taint
	// of its own with the same key and effect stays.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// +optional
	Taints []corev1.Taint `json:"taints,omitempty"`
	// EnableLeaderElection turns on leaders of OpenYurt's hub in the pool. It is
	// kept and does nothing here: an event on the pool says so.
	// +optional
	EnableLeaderElection bool `json:"enableLeaderElection,omitempty"`
	// LeaderElectionStrategy is "random" or "mark".
	// +optional
	// +kubebuilder:validation:Enum="";mark;random
	LeaderElectionStrategy string `json:"leaderElectionStrategy,omitempty"`
	// LeaderNodeLabelSelector selects the candidates of strategy "mark".
	// +optional
	LeaderNodeLabelSelector map[string]string `json:"leaderNodeLabelSelector,omitempty"`
	// LeaderReplicas is the number of leaders; unset means 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	LeaderReplicas int32 `json:"leaderReplicas,omitempty"`
	// PoolScopeMetadata are the resources that the leaders share out.
	// +optional
	PoolScopeMetadata []metav1.GroupVersionResource `json:"poolScopeMetadata,omitempty"`
}

// NodePoolStatus counts the nodes of the pool.
type NodePoolStatus struct {
	// +optional
	ReadyNodeNum int32 `json:"readyNodeNum"`
	// +optional
	UnreadyNodeNum int32 `json:"unreadyNodeNum"`
	// Nodes are the names of all nodes of the pool, sorted.
	// +optional
	Nodes []string `json:"nodes,omitempty"`
	// The rest belongs to OpenYurt's hub.
	// +optional
	LeaderEndpoints []Leader `json:"leaderEndpoints,omitempty"`
	// +optional
	LeaderNum int32 `json:"leaderNum,omitempty"`
	// +optional
	LeaderLastElectedTime *metav1.Time `json:"leaderLastElectedTime,omitempty"`
	// +optional
	Conditions []NodePoolCondition `json:"conditions,omitempty"`
}

// Leader is one leader of OpenYurt's hub.
type Leader struct {
	NodeName string `json:"nodeName"`
	Address  string `json:"address"`
}

// NodePoolCondition is one condition of a NodePool.
type NodePoolCondition struct {
	// +optional
	Type string `json:"type,omitempty"`
	// +optional
	Status corev1.ConditionStatus `json:"status,omitempty"`
	// +optional
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"`
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// NodePoolList is a list of NodePools.
//
// +kubebuilder:object:root=true
type NodePoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodePool `json:"items"`
}
