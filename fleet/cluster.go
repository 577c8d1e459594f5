// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	corev1 "k8s.io/api/core/v1"

	appsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
)

// Cluster is what the API says, as the manager reads it: everything, where an
// agent reads only Objects. The pointers are into caches and never written to.
// The order of the lists carries no meaning.
type Cluster struct {
	Nodes    []*corev1.Node          `json:"nodes,omitempty"`
	Pools    []*appsv1beta2.NodePool `json:"pools,omitempty"`
	Gateways []*ravenv1beta1.Gateway `json:"gateways,omitempty"`
	Reports  []*v1alpha1.LinkReport  `json:"reports,omitempty"`
	Slices   []*v1alpha1.DomainSlice `json:"slices,omitempty"`
	// RavenConfig is the data of ConfigMap kube-system/raven-cfg; nil if there
	// is none, which means that both switches are on.
	RavenConfig map[string]string `json:"ravenConfig,omitempty"`
	// TunnelService is the Service in front of magpie-gateway; nil if there is
	// none.
	TunnelService *corev1.Service `json:"tunnelService,omitempty"`
}
