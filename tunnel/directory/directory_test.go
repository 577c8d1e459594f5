// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/tunnel/directory"
)

// node makes a Node; addresses that parse are internal ones, others host names.
func node(name, cidr string, addrs ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("u-" + name), Labels: map[string]string{}}}
	if cidr != "" {
		n.Spec.PodCIDRs = []string{cidr}
	}
	for _, a := range addrs {
		kind := corev1.NodeInternalIP
		if _, err := netip.ParseAddr(a); err != nil {
			kind = corev1.NodeHostName
		}
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: kind, Address: a})
	}
	return n
}

// service makes a Service with one port 443, whose endpoints are "node address",
// "!" before one that is not ready.
func service(name, ip string, port int32, endpoints ...string) (*corev1.Service, *discoveryv1.EndpointSlice) {
	namespace, name, _ := strings.Cut(name, "/")
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.ClusterIPs = []string{ip}
	s.Spec.Ports = []corev1.ServicePort{{Name: "dns", Port: 443, Protocol: corev1.ProtocolUDP}, {Name: "https", Port: 443}}
	portName := "https"
	e := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		Ports:      []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
	for i, text := range endpoints {
		ready := !strings.HasPrefix(text, "!")
		on, addr, _ := strings.Cut(strings.TrimPrefix(text, "!"), " ")
		e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{addr}, NodeName: &on, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Name: fmt.Sprintf("%s-%d", name, i)},
		})
	}
	return s, e
}

// world is a VPC with two nodes, one of them of the control plane; two shops
// with the same addresses; a plant on a private line; and a liar.
func world() directory.Objects {
	o := directory.Objects{
		Nodes: []*corev1.Node{
			node("cp-1", "10.42.0.0/24", "10.0.0.10"),
			node("cloud-1", "10.42.1.0/24", "10.0.0.11", "cloud-1"),
			node("a-1", "10.42.2.0/24", "192.168.1.11", "till.shop-a"),
			node("b-1", "10.42.3.0/24", "192.168.1.11", "192.168.1.12", "till"),
			node("c-1", "10.42.4.0/24", "172.20.0.11"),
			node("p-1", "10.42.5.0/24", "172.21.0.11", "fd00::11"),
			// A liar's kubelet says of its Node what it likes.
			node("liar", "10.42.6.0/24", "127.0.0.1", "100.100.100.200", "10.0.0.99", "10.42.2.9", "10.96.0.20", "cloud-1", "web.shop.svc", "till"),
		},
		Slices: []*v1alpha1.DomainSlice{
			{Spec: v1alpha1.DomainSliceSpec{Domain: "gw-cloud", Cloud: true, Nodes: []v1alpha1.SliceNode{{Name: "cp-1"}, {Name: "cloud-1"}}}},
			{Spec: v1alpha1.DomainSliceSpec{Domain: "gw-plant", Private: true, Nodes: []v1alpha1.SliceNode{{Name: "c-1"}}}},
			{Spec: v1alpha1.DomainSliceSpec{Domain: "gw-shop-a", Nodes: []v1alpha1.SliceNode{{Name: "a-1"}}}},
		},
	}
	o.Nodes[5].Labels[api.LabelInterconnection] = api.InterconnectionPrivate
	o.Nodes[6].Labels[api.LabelInterconnection] = api.InterconnectionPrivate
	add := func(s *corev1.Service, e *discoveryv1.EndpointSlice) {
		o.Services, o.Endpoints = append(o.Services, s), append(o.Endpoints, e)
	}
	add(service("default/kubernetes", "10.96.0.1", 6443, "cp-1 10.0.0.10"))
	add(service("shop/web", "10.96.0.20", 8443, "b-1 10.42.3.7", "!a-1 10.42.2.8", "a-1 10.42.2.7", "cloud-1 10.42.1.7"))
	add(service("shop/host", "10.96.0.21", 9443, "a-1 192.168.1.11"))
	add(service("shop/none", "10.96.0.22", 8443, "!a-1 10.42.2.7"))
	// Endpoints that are not where they say: another node's pod, no pod at all.
	add(service("shop/forged", "10.96.0.23", 8443, "a-1 10.42.3.7", "a-1 10.0.0.12", "a-1 127.0.0.1", "nobody 10.42.2.7"))
	external, none := service("shop/external", "", 8443)
	external.Spec.Type = corev1.ServiceTypeExternalName
	add(external, none)
	return o
}

func TestResolve(t *testing.T) {
	x := directory.New(world())
	for _, c := range []struct {
		host string
		port uint16
		want string // routes, or the error
	}{
		{"a-1", 10250, "a-1:10250"},
		{"A-1.", 10250, "a-1:10250"},
		{"cloud-1", 10250, "cloud-1:10250 direct 10.0.0.11:10250"}, // though the liar has it for an alias
		{"c-1", 10250, "c-1:10250 direct 172.20.0.11:10250"},
		{"p-1", 10250, "p-1:10250 direct 172.21.0.11:10250"},
		{"liar", 10250, "liar:10250 direct 10.0.0.99:10250"}, // its own address, as far as anybody knows
		{"till.shop-a", 10250, "a-1:10250"},
		{"till", 10250, "ambiguous"},
		{"10.0.0.11", 10250, "cloud-1:10250 direct 10.0.0.11:10250"},
		{"::ffff:10.0.0.11", 10250, "cloud-1:10250 direct 10.0.0.11:10250"},
		{"fd00::11", 10250, "p-1:10250 direct 172.21.0.11:10250"},
		{"192.168.1.11", 10250, "ambiguous"},
		{"192.168.1.12", 10250, "b-1:10250"},
		{"10.42.2.9", 80, "a-1/10.42.2.9:80"}, // though the liar claims it
		{"10.42.1.9", 80, "cloud-1/10.42.1.9:80 direct 10.42.1.9:80"},
		{"10.42.4.9", 80, "c-1/10.42.4.9:80"},
		{"web.shop.svc", 443, "cloud-1/10.42.1.7:8443 direct 10.42.1.7:8443, a-1/10.42.2.7:8443, b-1/10.42.3.7:8443"},
		{"web.shop.svc.cluster.local", 443, "cloud-1/10.42.1.7:8443 direct 10.42.1.7:8443, a-1/10.42.2.7:8443, b-1/10.42.3.7:8443"},
		{"10.96.0.20", 443, "cloud-1/10.42.1.7:8443 direct 10.42.1.7:8443, a-1/10.42.2.7:8443, b-1/10.42.3.7:8443"},
		{"web.shop.svc", 80, "unknown"},
		{"web.shop", 443, "unknown"},
		{"host.shop.svc", 443, "a-1:9443"},
		{"none.shop.svc", 443, "no backend"},
		{"forged.shop.svc", 443, "no backend"},
		{"external.shop.svc", 443, "forbidden"},
		{"kubernetes.default.svc", 443, "forbidden"},
		{"10.96.0.1", 443, "forbidden"},
		{"10.0.0.10", 6443, "forbidden"},
		{"cp-1", 6443, "forbidden"},
		{"cp-1", 10250, "cp-1:10250 direct 10.0.0.10:10250"},
		{"127.0.0.1", 10250, "forbidden"},
		{"127.9.9.9", 10250, "forbidden"},
		{"::1", 10250, "forbidden"},
		{"::ffff:127.0.0.1", 10250, "forbidden"},
		{"0.0.0.0", 10250, "forbidden"},
		{"::", 10250, "forbidden"},
		{"169.254.169.254", 80, "forbidden"},
		{"100.100.100.200", 80, "forbidden"},
		{"::ffff:100.100.100.200", 80, "forbidden"},
		{"fe80::1%eth0", 80, "forbidden"},
		{"224.0.0.1", 80, "forbidden"},
		{"255.255.255.255", 80, "forbidden"},
		{"8.8.8.8", 443, "unknown"},
		{"10.0.0.12", 10250, "unknown"},
		{"localhost", 10250, "unknown"},
		{"", 10250, "unknown"},
		{"0x7f000001", 10250, "unknown"},
		{"2130706433", 10250, "unknown"},
		{"example.com", 443, "unknown"},
	} {
		if got := text(x.Resolve(c.host, c.port)); got != c.want {
			t.Errorf("%s port %d: %s, want %s", c.host, c.port, got, c.want)
		}
	}
}

func text(routes []directory.Route, err error) string {
	for word, is := range map[string]error{
		"unknown": directory.ErrUnknown, "ambiguous": directory.ErrAmbiguous,
		"forbidden": directory.ErrForbidden, "no backend": directory.ErrNoBackend,
	} {
		if errors.Is(err, is) {
			return word
		}
	}
	var out []string
	for _, r := range routes {
		s := r.Node
		if r.Addr.IsValid() {
			s += "/" + r.Addr.String()
		}
		s += fmt.Sprintf(":%d", r.Port)
		if r.Direct.IsValid() {
			s += " direct " + r.Direct.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestGone(t *testing.T) {
	before, after := world(), world()
	after.Nodes = after.Nodes[1:]
	after.Nodes[1].UID = "another"
	after.Nodes[2].Labels["x"] = "y"
	want := []directory.Removed{{"a-1", "u-a-1", "the Node was deleted and made again"}, {"cp-1", "u-cp-1", "the Node was deleted"}}
	if d := cmp.Diff(want, directory.New(after).Gone(directory.New(before))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := directory.New(before).Gone(directory.New(world())); len(got) != 0 {
		t.Errorf("nothing happened: %v", got)
	}
}

func TestInstances(t *testing.T) {
	o := world()
	s, four := service("kube-system/magpie-gateway", "", 10443, "cloud-1 10.42.1.9", "!cp-1 10.42.0.9")
	_, six := service("kube-system/magpie-gateway", "", 10443, "cloud-1 fd00::9", "cp-1 fd00::8")
	o.Services, o.Endpoints = append(o.Services, s), append(o.Endpoints, six, four)
	want := []directory.Instance{
		{"magpie-gateway-0", netip.MustParseAddr("10.42.1.9"), true}, {"magpie-gateway-1", netip.MustParseAddr("10.42.0.9"), false},
	}
	got := directory.New(o).Instances("kube-system", "magpie-gateway")
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestTurn(t *testing.T) {
	routes, err := directory.New(world()).Resolve("web.shop.svc", 443)
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]int{}
	for n := range uint64(4) {
		turned := directory.Turn(routes, n)
		if len(turned) != 3 || !turned[0].Direct.IsValid() {
			t.Errorf("turn %d: %v", n, turned)
		}
		first[turned[1].Node]++
	}
	if first["a-1"] != 2 || first["b-1"] != 2 {
		t.Errorf("first of the rest: %v", first)
	}
}

func FuzzResolve(f *testing.F) {
	x := directory.New(world())
	for _, host := range []string{"a-1", "web.shop.svc", "10.42.1.9", "::1", "till", "1.2.3.4.svc.svc"} {
		f.Add(host, uint16(443))
	}
	f.Fuzz(func(t *testing.T, host string, port uint16) {
		routes, err := x.Resolve(host, port)
		if (err == nil) != (len(routes) > 0) {
			t.Fatalf("%v, %v", routes, err)
		}
		for _, r := range routes {
			d := r.Direct.Addr()
			if _, known := x.NodeUID(r.Node); !known || d.IsLoopback() || d.IsLinkLocalUnicast() {
				t.Fatalf("route %+v", r)
			}
		}
	})
}

// BenchmarkNew is what each change costs in a cluster of 5,000 nodes.
func BenchmarkNew(b *testing.B) {
	var o directory.Objects
	for i := range 5000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()
		o.Nodes = append(o.Nodes, node(fmt.Sprintf("node-%d", i), fmt.Sprintf("10.%d.%d.0/24", 64+i>>8, i&255), a, fmt.Sprintf("node-%d", i)))
	}
	for i := range 2000 {
		s, e := service(fmt.Sprintf("shop/web-%d", i), netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}).String(), 443, "node-1 10.64.1.7")
		o.Services, o.Endpoints = append(o.Services, s), append(o.Endpoints, e)
	}
	b.ReportAllocs()
	for b.Loop() {
		directory.New(o)
	}
}
