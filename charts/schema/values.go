// SPDX-License-Identifier: Apache-2.0

package schema

// Values are what an operator may set.
type Values struct {
	// Global is for charts that this one is part of.
	Global map[string]any `json:"global"`
	Image  Image          `json:"image"`
	// APIServer is where agents and manager reach the Kubernetes API.
	APIServer APIServer `json:"apiServer"`
	Network   Network   `json:"network"`
	Agent     Agent     `json:"agent"`
	Manager   Manager   `json:"manager"`
	Gateway   Gateway   `json:"gateway"`
	Hub       Hub       `json:"hub"`
	// +magpie:config=magpie-agent
	Fence             string            `json:"fence"`
	AdmissionPolicies AdmissionPolicies `json:"admissionPolicies"`
	CRDs              CRDs              `json:"crds"`
	Uninstall         Uninstall         `json:"uninstall"`
	Monitoring        Monitoring        `json:"monitoring"`
	Dashboards        Dashboards        `json:"dashboards"`
}

// Image is the image of agent and manager.
type Image struct {
	// +kubebuilder:validation:MinLength=1
	// +required
	Repository string `json:"repository"`
	// Tag is the chart's appVersion when empty.
	Tag string `json:"tag"`
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	PullPolicy string `json:"pullPolicy"`
	// PullSecrets are names of Secrets.
	PullSecrets []string `json:"pullSecrets"`
}

// APIServer is an address that every node reaches.
type APIServer struct {
	// Host is an address or name without scheme and port.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9.:-]*$`
	Host string `json:"host"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int `json:"port"`
}

// Network is the pod network.
type Network struct {
	// +magpie:config=magpie-agent
	ClusterCIDRs []string `json:"clusterCIDRs"`
	// +magpie:config=magpie-agent
	NonMasquerade []string `json:"nonMasquerade"`
	// +magpie:config=magpie-agent
	VNI int `json:"vni"`
	// +magpie:config=magpie-agent
	Port int `json:"port"`
	// +magpie:config=magpie-agent
	MTU int `json:"mtu"`
	// +magpie:config=magpie-agent
	FastPath string `json:"fastPath"`
}

// Agent is what runs on every node.
type Agent struct {
	// +magpie:config=magpie-agent
	LogLevel string `json:"logLevel"`
	// +magpie:config=magpie-agent
	APIServer string `json:"apiServer"`
	// +magpie:config=magpie-agent
	CNIBinDir string `json:"cniBinDir"`
	// +magpie:config=magpie-agent
	CNIConfDir string `json:"cniConfDir"`
	// +magpie:config=magpie-agent
	StateDir string `json:"stateDir"`
	// +magpie:config=magpie-agent
	RunDir string `json:"runDir"`
	// Tunnel is the node's end of the O&M tunnel.
	Tunnel AgentTunnel `json:"tunnel"`
	// Privileged is the last resort for a runtime or security module with which
	// the three capabilities do not suffice.
	Privileged     bool              `json:"privileged"`
	Resources      Resources         `json:"resources"`
	UpdateStrategy UpdateStrategy    `json:"updateStrategy"`
	NodeSelector   map[string]string `json:"nodeSelector"`
	ExtraEnv       []EnvVar          `json:"extraEnv"`
}

// AgentTunnel is what the cloud may reach on the nodes, and how much of it.
type AgentTunnel struct {
	Enabled bool `json:"enabled"`
	// Ports of the node that may be reached.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	// +listType=set
	Ports []int `json:"ports"`
	// Streams open at once.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Streams int `json:"streams"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	DialsPerSecond int `json:"dialsPerSecond"`
	// BufferedMiB is memory for what streams have yet to deliver.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	BufferedMiB int `json:"bufferedMiB"`
	// DrainSeconds is how long open streams may go on after the order to stop.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	DrainSeconds int `json:"drainSeconds"`
}

// UpdateStrategy is how the agents are replaced.
type UpdateStrategy struct {
	// MaxUnavailable is a number of nodes or a share of them.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]?%$|^100%$`
	MaxUnavailable any `json:"maxUnavailable"`
}

// Manager is what runs in the cloud.
type Manager struct {
	// +magpie:config=magpie-manager
	LogLevel string `json:"logLevel"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	Replicas     int               `json:"replicas"`
	Resources    Resources         `json:"resources"`
	NodeSelector map[string]string `json:"nodeSelector"`
	ExtraEnv     []EnvVar          `json:"extraEnv"`
}

// Gateway is the cloud's end of the O&M tunnel.
type Gateway struct {
	Enabled bool `json:"enabled"`
	// +kubebuilder:validation:Enum=debug;info;warn;error
	LogLevel string `json:"logLevel"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Replicas int `json:"replicas"`
	// HostPorts opens 443 and 10294 on the nodes where instances run.
	HostPorts bool           `json:"hostPorts"`
	Service   GatewayService `json:"service"`
	Connect   GatewayConnect `json:"connect"`
	SNI       GatewaySNI     `json:"sni"`
	HTTP      GatewayHTTP    `json:"http"`
	// NodePorts are what may be reached on nodes beside any port of their pods.
	NodePorts []int `json:"nodePorts"`
	// Deny are ranges that are never reached.
	Deny []string `json:"deny"`
	// DrainSeconds is how long open streams may go on when an instance stops.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	DrainSeconds int               `json:"drainSeconds"`
	Resources    Resources         `json:"resources"`
	NodeSelector map[string]string `json:"nodeSelector"`
	ExtraEnv     []EnvVar          `json:"extraEnv"`
}

// GatewayService is what agents dial.
type GatewayService struct {
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type        string            `json:"type"`
	Annotations map[string]string `json:"annotations"`
}

// GatewayConnect is the entry for an API server with an
// EgressSelectorConfiguration.
type GatewayConnect struct {
	Enabled bool `json:"enabled"`
	// ClientCA is a PEM text: who else signs callers' certificates.
	ClientCA string `json:"clientCA"`
	// SocketDir is a directory of the host in which a unix socket is made.
	// +kubebuilder:validation:Pattern=`^(/.*)?$`
	SocketDir string `json:"socketDir"`
}

// GatewaySNI is the entry for an API server that resolves node names to the
// gateway.
type GatewaySNI struct {
	Enabled bool `json:"enabled"`
	// Sources are the ranges that may use it.
	Sources []string `json:"sources"`
}

// GatewayHTTP is the entry for Prometheus and metrics-server.
type GatewayHTTP struct {
	Enabled bool `json:"enabled"`
	// KubeletCA is a PEM text.
	KubeletCA string `json:"kubeletCA"`
}

// Hub is the endpoint from which kube-proxy and CoreDNS read Services.
type Hub struct {
	Enabled bool `json:"enabled"`
	// +magpie:config=magpie-agent.HubConfig
	GraceHours int `json:"graceHours"`
}

// AdmissionPolicies confine each agent to the objects of its own node.
type AdmissionPolicies struct {
	Enabled bool `json:"enabled"`
}

// CRDs are the CustomResourceDefinitions.
type CRDs struct {
	// Upgrade brings those that are ours to the chart's version at each "helm
	// upgrade". The CRDs of OpenYurt or ACK stay as they are.
	Upgrade bool `json:"upgrade"`
}

// Uninstall is what "helm uninstall" does besides.
type Uninstall struct {
	// Cleanup removes what agents made on the nodes.
	Cleanup bool `json:"cleanup"`
	// TimeoutSeconds is how long to wait for nodes that do not answer.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TimeoutSeconds int `json:"timeoutSeconds"`
}

// Monitoring is for the Prometheus operator.
type Monitoring struct {
	// Enabled makes a ServiceMonitor and a PodMonitor.
	Enabled bool `json:"enabled"`
	// +kubebuilder:validation:Pattern=`^[0-9]+(s|m)$`
	Interval string            `json:"interval"`
	Labels   map[string]string `json:"labels"`
}

// EnvVar is an environment variable in Kubernetes' own form.
type EnvVar struct {
	// +required
	Name      string         `json:"name"`
	Value     string         `json:"value"`
	ValueFrom map[string]any `json:"valueFrom"`
}

// Resources are a container's, in Kubernetes' own form.
type Resources struct {
	Limits   map[string]any `json:"limits"`
	Requests map[string]any `json:"requests"`
	Claims   []any          `json:"claims"`
}

// Dashboards makes a ConfigMap with a dashboard for Grafana's sidecar.
type Dashboards struct {
	Enabled bool `json:"enabled"`
	// Labels by which the sidecar finds it, beside grafana_dashboard: "1".
	Labels map[string]string `json:"labels"`
	// Annotations such as grafana_folder.
	Annotations map[string]string `json:"annotations"`
}
