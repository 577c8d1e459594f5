// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/cmd/magpiectl/sessions"
	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/plan"
)

// Patient is the cluster as it is seen from the operator's side. A nil field is
// what could not be read, unless it says otherwise.
type Patient struct {
	// Now is when it was looked at.
	Now time.Time
	// Status is what magpiectl status says; nil if kinds of ours are missing.
	Status *status.Report
	// CRDs says of each kind of ours whether it is established.
	CRDs map[string]bool
	// Lease is the manager's.
	Lease *Lease
	// Agents are the pods of the agents' DaemonSet.
	Agents []corev1.Pod
	// Reports are what agents say; nil if the kind is missing.
	Reports []v1alpha1.LinkReport
	// Notes are what planners say when they are asked here and now.
	Notes []plan.Note
	// PodRanges are the cluster's, ServiceRanges those of Services.
	PodRanges, ServiceRanges []netip.Prefix
	// Addresses of nodes, by name.
	Addresses map[string][]netip.Addr
	// MTU is what the operator asked for pods in bytes; 0 derives it.
	MTU int
	// Proxies are pods of kube-proxy; none where it does not run in pods.
	Proxies []corev1.Pod
	// DNS is how many endpoints of the cluster's DNS are ready; nil if there is
	// no such Service.
	DNS *int
	// Tunnel is what magpiectl tunnel says.
	Tunnel *sessions.Report
	// Services are those that ask for a hub, and who follows it.
	Services *Services
	// Denied says of each fact that is missing why, by the name of the check.
	Denied map[string]string
}

// Lease is what the manager's Lease says.
type Lease struct {
	// Holder is the identity of who leads; "" for nobody.
	Holder  string
	Renewed time.Time
	// Lasts is how long a holder leads without renewing it.
	Lasts time.Duration
}

// Checks are those of a cluster, in the order in which a person would look.
func Checks() []Check[Patient] {
	return []Check[Patient]{
		crds{},
		manager{},
		agents{},
		versions{},
		agentWords{},
		network{},
		election{},
		plans{},
		overlaps{},
		mtu{},
		proxies{},
		dns{},
		hubs{},
		annotated{},
		tunnels{},
	}
}

func (p Patient) skipped(check string) string {
	if why := p.Denied[check]; why != "" {
		return why
	}
	return "it could not be read"
}

// node returns what status says of a node.
func (p Patient) node(name string) (status.Node, bool) {
	if p.Status == nil {
		return status.Node{}, false
	}
	i := slices.IndexFunc(p.Status.Nodes, func(n status.Node) bool { return n.Name == name })
	if i < 0 {
		return status.Node{}, false
	}
	return p.Status.Nodes[i], true
}

// around are the subjects whose trouble explains that of a node: its domain
// and the links of its domain.
func (p Patient) around(node string) []string {
	n, ok := p.node(node)
	if !ok || n.Domain == "" {
		return nil
	}
	out := []string{"domain " + n.Domain}
	for _, l := range p.Status.Links {
		if l.Domain == n.Domain {
			out = append(out, linkSubject(l.Gateway, l.Peer))
		}
	}
	return out
}

func linkSubject(a, b string) string { return "link " + a + " to " + b }
