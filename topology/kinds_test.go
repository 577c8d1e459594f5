// SPDX-License-Identifier: Apache-2.0

package topology_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/topology"
)

// rows returns the cells of a table of docs/reference/services.md that begins
// with that column and has so many.
func rows(t *testing.T, columns ...string) [][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/reference/services.md")
	if err != nil {
		t.Fatal(err)
	}
	cells := func(line string) []string {
		var out []string
		for c := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			out = append(out, strings.TrimSpace(c))
		}
		return out
	}
	var out [][]string
	inside := false
	for line := range strings.Lines(string(text)) {
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case slices.Equal(cells(line), columns):
			inside = true
		case inside && !strings.HasPrefix(line, "|---"):
			if len(cells(line)) != len(columns) {
				t.Fatalf("row %q has %d cells", line, len(cells(line)))
			}
			out = append(out, cells(line))
		}
	}
	return out
}

// kind is a Service in the words of that page.
func kind(t *testing.T, words string) *corev1.Service {
	t.Helper()
	name, more, _ := strings.Cut(words, ", ")
	name, without := strings.CutSuffix(name, " without NodePorts")
	s := service(map[string]string{})
	s.Spec.ClusterIP, s.Spec.Type = "10.96.0.7", corev1.ServiceType(name)
	s.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80}}
	switch name {
	case "ClusterIP":
	case "NodePort", "LoadBalancer":
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		if !without {
			s.Spec.Ports[0].NodePort = 30080
		}
	case "headless":
		s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone
	case "ExternalName":
		s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}
	case "default/kubernetes":
		s.Namespace, s.Name, s.Spec.Type = "default", "kubernetes", corev1.ServiceTypeClusterIP
	default:
		t.Fatalf("%q is no kind of Service", words)
	}
	for word := range strings.SplitSeq(more, ", ") {
		property(t, s, word)
	}
	return s
}

func property(t *testing.T, s *corev1.Service, word string) {
	t.Helper()
	local := corev1.ServiceInternalTrafficPolicyLocal
	switch word {
	case "", "dual stack": // of its slices
	case "internal Local":
		s.Spec.InternalTrafficPolicy = &local
	case "external Local":
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			s.Spec.HealthCheckNodePort = 31000
		}
	case "external addresses":
		s.Spec.ExternalIPs = []string{"198.51.100.7"}
	case "PreferSameZone", "PreferSameNode":
		s.Spec.TrafficDistribution = &word
	case "ClientIP affinity":
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	default:
		t.Fatalf("%q is no property of a Service", word)
	}
}

// fleetOfKinds is the one of that page.
func fleetOfKinds() fleet.View {
	return fleet.View{Domains: []fleet.Domain{
		{Name: "gw-a", Nodes: []fleet.Node{{Name: "a-1", Pool: "shop-a"}, {Name: "a-2", Pool: "shop-a"}, {Name: "alone"}, {Name: "apart"}}},
		{Name: "gw-b", Nodes: []fleet.Node{{Name: "b-1", Pool: "shop-b"}, {Name: "b-2", Pool: "shop-b"}}},
	}}
}

// sliceOf has endpoints "NODE", "NODE ends", "NODE unready", with the hints that
// the EndpointSlice controller gives them. The address is the word itself.
func sliceOf(s *corev1.Service, family, words string) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{}
	for word := range strings.SplitSeq(words, ", ") {
		node, state, _ := strings.Cut(word, " ")
		if node == "none" {
			continue
		}
		ready, serving, ends := state == "", state != "unready", state == "ends"
		e := discoveryv1.Endpoint{
			Addresses:  []string{strings.TrimSpace(word + " " + family)},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &ends},
		}
		if node != "nowhere" {
			e.NodeName = &node
		}
		if d := s.Spec.TrafficDistribution; d != nil {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zoneOf(node)}}}
			if *d == "PreferSameNode" {
				e.Hints.ForNodes = []discoveryv1.ForNode{{Name: node}}
			}
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	return out
}

func zoneOf(node string) string { return "zone-" + node[:1] }

func TestKinds(t *testing.T) {
	all := rows(t, "Service", "pinned to", "endpoints on", "reader", "sees", "inside", "outside")
	if len(all) < 30 {
		t.Fatalf("the page has %d rows", len(all))
	}
	for _, row := range all {
		t.Run(strings.Join(row[:4], "|"), func(t *testing.T) {
			s, reader := kind(t, row[0]), row[3]
			pins := map[string]string{"node": "kubernetes.io/hostname", "pool": "openyurt.io/nodepool", "zone": "kubernetes.io/zone", "something else": "site"}
			if value, ok := pins[row[1]]; ok {
				s.Annotations["openyurt.io/topologyKeys"] = value
			} else if row[1] != "nothing" {
				t.Fatalf("pinned to %q", row[1])
			}
			families := []string{""}
			if strings.HasSuffix(row[0], "dual stack") {
				families = append(families, "v6")
			}
			reach, _ := topology.ReachOf(s)
			var sees, inside, outside []string
			for _, f := range families {
				seen := topology.Pin(sliceOf(s, f, row[2]), reach, topology.At(fleetOfKinds(), reader)).Endpoints
				sees = append(sees, addresses(seen)...)
				in, out := proxied(s, seen, reader)
				inside, outside = append(inside, in...), append(outside, out...)
			}
			traffic := s.Spec.ClusterIP != corev1.ClusterIPNone && s.Spec.Type != corev1.ServiceTypeExternalName
			for i, got := range []string{said(sees, true), said(inside, traffic), said(outside, s.Spec.ExternalTrafficPolicy != "")} {
				if want := row[4+i]; got != want {
					t.Errorf("%s: %s, the page says %s", []string{"sees", "inside", "outside"}[i], got, want)
				}
			}
		})
	}
}

func said(words []string, any bool) string {
	switch {
	case !any:
		return "-"
	case len(words) == 0:
		return "none"
	}
	return strings.Join(words, ", ")
}

func addresses(endpoints []discoveryv1.Endpoint) []string {
	var out []string
	for _, e := range endpoints {
		out = append(out, e.Addresses...)
	}
	return out
}

// proxied is whom kube-proxy on a node uses of what it sees.
// Source: k8s.io/kubernetes v1.37.2 pkg/proxy/topology.go, CategorizeEndpoints.
func proxied(s *corev1.Service, seen []discoveryv1.Endpoint, node string) (inside, outside []string) {
	cluster := usable(hinted(seen, node))
	local := usable(slices.DeleteFunc(slices.Clone(seen), func(e discoveryv1.Endpoint) bool { return e.NodeName == nil || *e.NodeName != node }))
	inside, outside = cluster, cluster
	if p := s.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		inside = local
	}
	if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		outside = local
	}
	return inside, outside
}

// usable are those that are ready, or if there is none, those that end and serve.
func usable(endpoints []discoveryv1.Endpoint) []string {
	for _, ready := range []bool{true, false} {
		var out []string
		for _, e := range endpoints {
			if *e.Conditions.Ready == ready && (ready || *e.Conditions.Serving && *e.Conditions.Terminating) {
				out = append(out, e.Addresses...)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// hinted follows the hints if every ready endpoint has one and one is for here.
func hinted(seen []discoveryv1.Endpoint, node string) []discoveryv1.Endpoint {
	forNode := func(h *discoveryv1.EndpointHints) []string {
		var out []string
		for _, n := range h.ForNodes {
			out = append(out, n.Name)
		}
		return out
	}
	forZone := func(h *discoveryv1.EndpointHints) []string {
		var out []string
		for _, z := range h.ForZones {
			out = append(out, z.Name)
		}
		return out
	}
	for _, mode := range []struct {
		names func(*discoveryv1.EndpointHints) []string
		here  string
	}{{forNode, node}, {forZone, zoneOf(node)}} {
		all, some := true, false
		var out []discoveryv1.Endpoint
		for _, e := range seen {
			if !*e.Conditions.Ready {
				out = append(out, e)
				continue
			}
			all = all && e.Hints != nil && len(mode.names(e.Hints)) > 0
			if all && slices.Contains(mode.names(e.Hints), mode.here) {
				some = true
				out = append(out, e)
			}
		}
		if all && some {
			return out
		}
	}
	return seen
}

func TestFencedKinds(t *testing.T) {
	all := rows(t, "Service", "type", "NodePort", "health check port", "ClusterIP", "external Local")
	if len(all) < 8 {
		t.Fatalf("the page has %d rows", len(all))
	}
	for _, row := range all {
		t.Run(row[0], func(t *testing.T) {
			s := kind(t, row[0])
			s.Annotations["nodeport.openyurt.io/listen"] = "shop-b"
			if topology.Fence(s, "shop-b") != s || topology.Fence(s, "") != s {
				t.Error("it is changed where it listens")
			}
			was, is := s, topology.Fence(s, "shop-a")
			ports := func(s *corev1.Service) string {
				if len(s.Spec.Ports) == 0 {
					return ""
				}
				return number(s.Spec.Ports[0].NodePort)
			}
			health := func(s *corev1.Service) string { return number(s.Spec.HealthCheckNodePort) }
			address := func(s *corev1.Service) string { return strings.TrimSuffix(s.Spec.ClusterIP, corev1.ClusterIPNone) }
			local := func(s *corev1.Service) string {
				return strings.TrimSuffix(string(s.Spec.ExternalTrafficPolicy), string(corev1.ServiceExternalTrafficPolicyCluster))
			}
			got := []string{row[0], string(is.Spec.Type)}
			for _, f := range []func(*corev1.Service) string{ports, health, address, local} {
				got = append(got, became(f(was), f(is)))
			}
			if !slices.Equal(got, row) {
				t.Errorf("it is %q, the page says %q", got, row)
			}
		})
	}
}

func number(port int32) string {
	if port == 0 {
		return ""
	}
	return fmt.Sprint(port)
}

func became(was, is string) string {
	switch {
	case was == "" && is == "":
		return "-"
	case is == was:
		return "kept"
	case is == "":
		return "taken"
	}
	return was + " became " + is
}
