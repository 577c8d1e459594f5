// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/magpie-edge/magpie/hub"
)

// The tables are those of an API server, column by column.
// Source: kubernetes pkg/printers/internalversion/printers.go, v1.37.

var (
	objectMeta = metav1.ObjectMeta{}.SwaggerDoc()
	nodeInfo   = corev1.NodeSystemInfo{}.SwaggerDoc()

	nameColumn = metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: objectMeta["name"]}
	ageColumn  = metav1.TableColumnDefinition{Name: "Age", Type: "string", Description: objectMeta["creationTimestamp"]}

	serviceColumns = []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Type", Type: "string", Description: corev1.ServiceSpec{}.SwaggerDoc()["type"]},
		{Name: "Cluster-IP", Type: "string", Description: corev1.ServiceSpec{}.SwaggerDoc()["clusterIP"]},
		{Name: "External-IP", Type: "string", Description: corev1.ServiceSpec{}.SwaggerDoc()["externalIPs"]},
		{Name: "Port(s)", Type: "string", Description: corev1.ServiceSpec{}.SwaggerDoc()["ports"]},
		ageColumn,
		{Name: "Selector", Type: "string", Priority: 1, Description: corev1.ServiceSpec{}.SwaggerDoc()["selector"]},
	}
	sliceColumns = []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "AddressType", Type: "string", Description: discoveryv1.EndpointSlice{}.SwaggerDoc()["addressType"]},
		{Name: "Ports", Type: "string", Description: discoveryv1.EndpointSlice{}.SwaggerDoc()["ports"]},
		{Name: "Endpoints", Type: "string", Description: discoveryv1.EndpointSlice{}.SwaggerDoc()["endpoints"]},
		ageColumn,
	}
	endpointsColumns = []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Endpoints", Type: "string", Description: corev1.Endpoints{}.SwaggerDoc()["subsets"]}, //nolint:staticcheck // old clients
		ageColumn,
	}
	nodeColumns = []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Status", Type: "string", Description: "The status of the node"},
		{Name: "Roles", Type: "string", Description: "The roles of the node"},
		ageColumn,
		{Name: "Version", Type: "string", Description: nodeInfo["kubeletVersion"]},
		{Name: "Internal-IP", Type: "string", Priority: 1, Description: corev1.NodeStatus{}.SwaggerDoc()["addresses"]},
		{Name: "External-IP", Type: "string", Priority: 1, Description: corev1.NodeStatus{}.SwaggerDoc()["addresses"]},
		{Name: "OS-Image", Type: "string", Priority: 1, Description: nodeInfo["osImage"]},
		{Name: "Kernel-Version", Type: "string", Priority: 1, Description: nodeInfo["kernelVersion"]},
		{Name: "Container-Runtime", Type: "string", Priority: 1, Description: nodeInfo["containerRuntimeVersion"]},
	}
)

var namespaceColumns = []metav1.TableColumnDefinition{
	nameColumn,
	{Name: "Status", Type: "string", Description: "The status of the namespace"},
	ageColumn,
}

const (
	none     = "<none>"
	unknown  = "<unknown>"
	cellMost = 3 // endpoints and ports that a cell shows
)

// table returns the rows of these objects, which are dressed if they go with
// the rows whole.
func (k served) table(items []hub.Item, m metav1.ListMeta, f form, now time.Time) runtime.Object {
	t := &metav1.Table{
		TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: metav1.SchemeGroupVersion.String()},
		ListMeta: m, Rows: make([]metav1.TableRow, len(items)),
	}
	if !f.noHeaders {
		t.ColumnDefinitions = k.columns
	}
	for i, item := range items {
		age := unknown
		if at := item.Object.GetCreationTimestamp(); !at.IsZero() {
			age = duration.HumanDuration(now.Sub(at.Time))
		}
		t.Rows[i].Cells = k.cells(item.Object, age)
		switch f.include {
		case metav1.IncludeNone:
		case metav1.IncludeObject:
			t.Rows[i].Object.Object = k.dress(item.Object, "")
		default:
			t.Rows[i].Object.Object = partial(item.Object)
		}
	}
	return t
}

// partial returns the metadata of an object.
func partial(o hub.Object) *metav1.PartialObjectMetadata {
	p := meta.AsPartialObjectMetadata(o)
	p.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return p
}

func serviceCells(o hub.Object, age string) []any {
	s := o.(*corev1.Service)
	internal := none
	if len(s.Spec.ClusterIPs) > 0 {
		internal = s.Spec.ClusterIPs[0]
	}
	var ports []string
	for _, p := range s.Spec.Ports {
		port := strconv.Itoa(int(p.Port))
		if p.NodePort > 0 {
			port += ":" + strconv.Itoa(int(p.NodePort))
		}
		ports = append(ports, port+"/"+string(p.Protocol))
	}
	return []any{
		s.Name, string(s.Spec.Type), internal, externalOf(s), orElse(strings.Join(ports, ","), none), age,
		labels.FormatLabels(s.Spec.Selector),
	}
}

// externalOf is the cell External-IP.
func externalOf(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orElse(strings.Join(s.Spec.ExternalIPs, ","), none)
	case corev1.ServiceTypeLoadBalancer:
		given := map[string]bool{}
		for _, i := range s.Status.LoadBalancer.Ingress {
			if at := orElse(i.IP, i.Hostname); at != "" {
				given[at] = true
			}
		}
		return orElse(strings.Join(append(slices.Sorted(maps.Keys(given)), s.Spec.ExternalIPs...), ","), "<pending>")
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	default:
		return unknown
	}
}

func sliceCells(o hub.Object, age string) []any {
	s := o.(*discoveryv1.EndpointSlice)
	var ports, addresses []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			ports = append(ports, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			ports = append(ports, *p.Name)
		default:
			ports = append(ports, "*")
		}
	}
	for _, e := range s.Endpoints {
		addresses = append(addresses, e.Addresses...)
	}
	return []any{s.Name, string(s.AddressType), orElse(few(ports), "<unset>"), orElse(few(addresses), "<unset>"), age}
}

func endpointsCells(o hub.Object, age string) []any {
	e := o.(*corev1.Endpoints) //nolint:staticcheck // old clients
	if len(e.Subsets) == 0 {
		return []any{e.Name, none, age}
	}
	var all []string
	for _, s := range e.Subsets {
		for _, a := range s.Addresses {
			if len(s.Ports) == 0 { // a headless Service need not have any
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return []any{e.Name, few(all), age}
}

func nodeCells(o hub.Object, age string) []any {
	n := o.(*corev1.Node)
	info := n.Status.NodeInfo
	kernel := orElse(info.KernelVersion, unknown)
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name, statusOf(n), orElse(strings.Join(rolesOf(n), ","), none), age, info.KubeletVersion,
		addressOf(n, corev1.NodeInternalIP), addressOf(n, corev1.NodeExternalIP),
		orElse(info.OSImage, unknown), kernel, orElse(info.ContainerRuntimeVersion, unknown),
	}
}

func namespaceCells(o hub.Object, age string) []any {
	n := o.(*corev1.Namespace)
	return []any{n.Name, string(n.Status.Phase), age}
}

func statusOf(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type != corev1.NodeReady:
		case c.Status == corev1.ConditionTrue:
			status = "Ready"
		default:
			status = "NotReady"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// rolesOf returns the roles that the labels of a node give it, sorted.
func rolesOf(n *corev1.Node) []string {
	roles := map[string]bool{}
	for label, value := range n.Labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok && role != "" {
			roles[role] = true
		} else if label == "kubernetes.io/role" && value != "" {
			roles[value] = true
		}
	}
	return slices.Sorted(maps.Keys(roles))
}

func addressOf(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return none
}

// few joins what a cell has place for.
func few(all []string) string {
	if len(all) > cellMost {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:cellMost], ","), len(all)-cellMost)
	}
	return strings.Join(all, ",")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
