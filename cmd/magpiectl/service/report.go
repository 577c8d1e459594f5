// SPDX-License-Identifier: Apache-2.0

package service

// Report is what each place sees of one Service. Its JSON is documented in
// docs/reference/magpiectl-json.md; fields are added, never changed.
type Report struct {
	// OK is true if there is no problem.
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
	// Hints are things to know that are not wrong.
	Hints     []string `json:"hints"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	// Type is ClusterIP, NodePort, LoadBalancer, ExternalName, or Headless for
	// one without a ClusterIP.
	Type  string `json:"type"`
	Hub   Hub    `json:"hub"`
	Pin   Pin    `json:"pin"`
	Fence Fence  `json:"fence"`
	// Endpoints are all of the Service, sorted by node and address.
	Endpoints []Endpoint `json:"endpoints"`
	Pools     []Pool     `json:"pools"`
	Nodes     []Node     `json:"nodes"`
}

// Problem is one thing that is wrong.
type Problem struct {
	// Code is constant; docs/runbooks has a page of that name for most.
	Code string `json:"code"`
	Text string `json:"text"`
	// Do says what to do next.
	Do string `json:"do"`
}

// Hub says whether the nodes' readers see what this report shows.
type Hub struct {
	// On is false while kube-proxy and CoreDNS read the API server itself: then
	// every node uses all endpoints, and opens every NodePort unless Fence.By is
	// "nftables".
	On  bool   `json:"on"`
	Why string `json:"why"`
}

// Pin says how far clients of the Service reach.
type Pin struct {
	// Value of the annotation openyurt.io/topologyKeys; absent without it.
	Value *string `json:"value,omitempty"`
	// Reach is "anywhere", "node" or "pool".
	Reach string `json:"reach"`
	Why   string `json:"why"`
}

// Values of Fence.By.
const (
	FenceHub      = "hub"
	FenceNFTables = "nftables"
	FenceNone     = "none"
)

// Fence says who opens the Service's NodePorts.
type Fence struct {
	// By is what closes them elsewhere: "hub", "nftables", or "none" while nothing
	// does.
	By string `json:"by"`
	// Value of the annotation nodeport.openyurt.io/listen; absent without it.
	Value *string `json:"value,omitempty"`
	// Ports are the NodePorts, the one for health checks among them; empty if
	// there is nothing to open.
	Ports []int `json:"ports"`
}

// Endpoint is one endpoint.
type Endpoint struct {
	Address string `json:"address"`
	// Node it is on, "" if it names none; Pool of that node.
	Node  string `json:"node"`
	Pool  string `json:"pool"`
	Ready bool   `json:"ready"`
	// Ending is true while its pod shuts down and still serves.
	Ending bool `json:"ending"`
	// Target is the pod, "namespace/name"; "" for another kind.
	Target string `json:"target"`
}

// Seen is what one place sees, and why.
type Seen struct {
	// Sees are addresses of endpoints, Ready counts those that are ready.
	Sees  []string `json:"sees"`
	Ready int      `json:"ready"`
	// Ending counts those that end: kube-proxy uses them while none is ready.
	Ending int    `json:"ending"`
	Why    string `json:"why"`
	// Listens is true where the NodePorts are open.
	Listens    bool   `json:"listens"`
	ListensWhy string `json:"listensWhy"`
}

// Pool is one pool: of a NodePool, of a label on nodes, or "" for all nodes
// that are in none.
type Pool struct {
	Name string `json:"name"`
	// Type is "Edge" or "Cloud"; "" for a pool without a NodePool.
	Type  string `json:"type"`
	Nodes int    `json:"nodes"`
	// Sees of a pool is what any of its nodes sees.
	Seen
}

// Node is one node.
type Node struct {
	Name string `json:"name"`
	Pool string `json:"pool"`
	Seen
}
