// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/fleet"
)

func node(name string, cidrs ...string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: cidrs}}
}

func slice(domain string, nodes ...v1alpha1.SliceNode) v1alpha1.DomainSlice {
	return v1alpha1.DomainSlice{Spec: v1alpha1.DomainSliceSpec{Domain: domain, Nodes: nodes}}
}

func member(name, addr, cidr string) v1alpha1.SliceNode {
	return v1alpha1.SliceNode{Name: name, Addresses: []string{addr}, PodCIDRs: []string{cidr}}
}

func TestBuildJoinsTheSlicesOfADomain(t *testing.T) {
	in := fleet.Objects{
		Node: node("a-2", "10.42.4.0/24"),
		Slices: []v1alpha1.DomainSlice{
			slice("gw-shop-a", member("a-2", "192.168.1.12", "10.42.4.0/24")),
			slice("gw-cloud", member("cloud-1", "10.0.0.11", "10.42.1.0/24")),
			slice("gw-shop-a", member("a-1", "192.168.1.11", "10.42.3.0/24")),
		},
	}
	v, problems, err := fleet.Build(in, fleet.Host{}, fleet.Settings{})
	if err != nil || len(problems) != 0 {
		t.Fatalf("problems %v, err %v", problems, err)
	}
	if v.Self.Domain != "gw-shop-a" {
		t.Errorf("own domain is %q", v.Self.Domain)
	}
	var names []string
	for _, d := range v.Domains {
		for _, n := range d.Nodes {
			names = append(names, d.Name+"/"+n.Name)
		}
	}
	want := []string{"gw-cloud/cloud-1", "gw-shop-a/a-1", "gw-shop-a/a-2"}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
}

// TestBuildIsDeterministic shuffles what informers return in any order.
func TestBuildIsDeterministic(t *testing.T) {
	var slices []v1alpha1.DomainSlice
	for _, d := range []string{"gw-a", "gw-b", "gw-c"} {
		for _, n := range []string{"1", "2", "3"} {
			slices = append(slices, slice(d, member(d+n, "192.168.1.1"+n, "10.42."+n+".0/24")))
		}
	}
	var first []byte
	r := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		r.Shuffle(len(slices), func(i, j int) { slices[i], slices[j] = slices[j], slices[i] })
		v, _, err := fleet.Build(fleet.Objects{Node: node("gw-a1"), Slices: slices}, fleet.Host{}, fleet.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := fleet.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Fatal("the order of the input shows in the View")
		}
	}
}

func TestBuildLeavesOutWhatDoesNotParse(t *testing.T) {
	bad := member("b-1", "not an address", "10.42.300.0/24")
	s := slice("gw-b", bad, member("b-2", "192.168.1.12", "10.42.6.0/24"))
	s.Spec.Gateways = []v1alpha1.SliceGateway{{Node: "b-2", Endpoints: []string{"203.0.113.1", "203.0.113.2:4500"}}}
	v, problems, err := fleet.Build(fleet.Objects{Node: node("b-2"), Slices: []v1alpha1.DomainSlice{s}}, fleet.Host{}, fleet.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) != 3 {
		t.Errorf("want three problems, got %q", problems)
	}
	for _, p := range problems {
		if !strings.Contains(p, "b-1") && !strings.Contains(p, "b-2") {
			t.Errorf("problem does not say whose it is: %s", p)
		}
	}
	good, _, ok := v.Node("b-2")
	if !ok || !good.Addr4.IsValid() {
		t.Errorf("one bad node took a good one with it: %+v", v.Domains)
	}
	g, _ := v.Domains[0].Gateway("b-2")
	if d := cmp.Diff([]netip.AddrPort{netip.MustParseAddrPort("203.0.113.2:4500")}, g.Endpoints, cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Errorf("endpoints (-want +got):\n%s", d)
	}
}

// TestBuildDropsWhatTwoSlicesSayTwice: while a node moves between slices both
// may hold it.
func TestBuildDropsWhatTwoSlicesSayTwice(t *testing.T) {
	twice := member("a-1", "192.168.1.11", "10.42.3.0/24")
	in := fleet.Objects{Node: node("a-1"), Slices: []v1alpha1.DomainSlice{slice("gw-a", twice), slice("gw-a", twice)}}
	v, _, err := fleet.Build(in, fleet.Host{}, fleet.Settings{})
	if err != nil || len(v.Domains[0].Nodes) != 1 {
		t.Fatalf("%+v, %v", v.Domains, err)
	}
}

func TestBuildNeedsItsOwnNode(t *testing.T) {
	if _, _, err := fleet.Build(fleet.Objects{}, fleet.Host{}, fleet.Settings{}); !errors.Is(err, fleet.ErrNoNode) {
		t.Fatalf("err %v", err)
	}
}

func TestFileRoundTripMarksStale(t *testing.T) {
	in := fleet.Objects{Node: node("a-1", "10.42.3.0/24"), Slices: []v1alpha1.DomainSlice{slice("gw-a", member("a-1", "192.168.1.11", "10.42.3.0/24"))}}
	host := fleet.Host{
		Underlay4: fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr("192.168.1.11"), MTU: 1500},
		Now:       time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
	}
	v, _, err := fleet.Build(in, host, fleet.Settings{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, VNI: 1, Port: 8472})
	if err != nil {
		t.Fatal(err)
	}
	b, err := fleet.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := fleet.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	v.Stale = true
	if d := cmp.Diff(v, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("after the round trip (-want +got):\n%s", d)
	}
}

func TestUnmarshalRefusesOtherVersions(t *testing.T) {
	if _, err := fleet.Unmarshal([]byte(`{"version":2,"view":{}}`)); err == nil {
		t.Fatal("a file of another version was taken for ours")
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"version":1,"view":{"self":{"podCIDRs":["10.0.0.0/8"]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := fleet.Unmarshal(b)
		if err != nil {
			return
		}
		if _, err := fleet.Marshal(v); err != nil {
			t.Fatalf("read but cannot write: %v", err)
		}
	})
}

func TestMACIsLocalUnicastAndStable(t *testing.T) {
	a, b := fleet.MAC("node-1", "vxlan4"), fleet.MAC("node-1", "vxlan6")
	if a == b || a != fleet.MAC("node-1", "vxlan4") {
		t.Errorf("macs %s %s", a, b)
	}
	var first byte
	for _, c := range strings.ToLower(a[:2]) {
		first = first*16 + byte(strings.IndexRune("0123456789abcdef", c))
	}
	if first&1 != 0 || first&2 == 0 {
		t.Errorf("%s is not a locally administered unicast address", a)
	}
}

func TestTunnels(t *testing.T) {
	cloud := func(domain string, tunnels ...string) v1alpha1.DomainSlice {
		s := slice(domain, member(domain+"-1", "10.0.0.11", "10.42.1.0/24"))
		s.Spec.Cloud, s.Spec.Tunnels = true, tunnels
		return s
	}
	in := fleet.Objects{Slices: []v1alpha1.DomainSlice{
		cloud("gw-cloud", "203.0.113.11:443", "lb.example.com:443"),
		cloud("gw-cloud", "[2001:db8::1]:443", "203.0.113.11:443"),
		cloud("gw-east", "198.51.100.1:8443", "203.0.113.11:443", "no-port", ":443", "1.2.3.4:0", "a b:443", "2001:db8::1:443"),
		slice("gw-shop-a", member("a-1", "192.168.1.11", "10.42.3.0/24")),
	}}
	for self, want := range map[string][]string{
		"a-1":       {"198.51.100.1:8443", "203.0.113.11:443", "[2001:db8::1]:443", "lb.example.com:443"},
		"gw-east-1": nil,
		"newcomer":  nil,
	} {
		in.Node = node(self)
		v, problems, err := fleet.Build(in, fleet.Host{}, fleet.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, v.Tunnels()); d != "" {
			t.Errorf("%s dials (-want +got):\n%s", self, d)
		}
		if len(problems) != 5 {
			t.Errorf("problems: %q", problems)
		}
	}
}
