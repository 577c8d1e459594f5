// SPDX-License-Identifier: Apache-2.0

package walks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
)

// world is the machines of one script and what the API would hold of them.
//
//	node --LAN-- router (NAT) --line-- internet --line-- router (1:1) --LAN-- node
type world struct {
	dir   string
	sites map[string]*site
	nodes []*node // in the order in which they joined
	pods  map[string]*pod
	api   fleet.Cluster
	made  []string // namespaces
	// drivers are those of nodes that do not choose by themselves.
	drivers map[string]kernel.Driver
}

// site is where the nodes of one domain are.
type site struct {
	lan    netip.Prefix
	public bool
	plugs  byte // used so far
}

func newWorld(dir string) *world {
	return &world{dir: dir, sites: map[string]*site{}, pods: map[string]*pod{}}
}

func (w *world) open() error {
	return errors.Join(w.namespace("internet"), run("ip netns exec internet sysctl -qw net.ipv4.ip_forward=1"))
}

func (w *world) close() {
	for _, p := range w.pods {
		p.close()
	}
	for _, n := range w.nodes {
		n.agent.close()
	}
	for _, name := range slices.Backward(w.made) {
		_ = run("ip netns del " + name) // may be gone
	}
}

// namespace makes one, without the second in which an IPv6 address is not one
// yet: a script compares what there is.
func (w *world) namespace(name string) error {
	w.made = append(w.made, name)
	return run(strings.ReplaceAll(`
		ip netns add NAME
		ip -n NAME link set lo up
		ip netns exec NAME sysctl -qw net.ipv6.conf.default.accept_dad=0`, "NAME", name))
}

// link performs "DOMAIN LAN [public]". The router's address on the LAN is its own: a
// bridge borrows that of a port, and loses it with the port.
func (w *world) link(args []string) (string, error) {
	name := args[0]
	s := &site{lan: netip.MustParsePrefix(args[1]), public: len(args) > 2}
	w.sites[name] = s
	router, line := "router-"+name, fmt.Sprintf("100.64.%d.", len(w.sites))
	if err := w.namespace(router); err != nil {
		return "", err
	}
	leaves := "masquerade"
	if s.public {
		leaves = "snat ip prefix to ip saddr map { " + s.lan.String() + " : 203.0.113.0/24 }"
	}
	script := strings.NewReplacer("ROUTER", router, "SITE", name, "LINE", line, "LAN", s.at(1).String()+"/24", "LEAVES", leaves).Replace(`
		ip netns exec ROUTER sysctl -qw net.ipv4.ip_forward=1
		ip -n ROUTER link add lan address 02:00:00:00:00:01 type bridge
		ip -n ROUTER addr add LAN dev lan
		ip -n ROUTER link set lan up
		ip -n ROUTER link add line type veth peer name SITE netns internet
		ip -n ROUTER addr add LINE2/24 dev line
		ip -n internet addr add LINE1/24 dev SITE
		ip -n ROUTER link set line up
		ip -n internet link set SITE up
		ip -n ROUTER route add default via LINE1
		ip netns exec ROUTER nft add table ip site
		ip netns exec ROUTER nft add chain ip site out { type nat hook postrouting priority 100 ; }
		ip netns exec ROUTER nft add rule ip site out oifname line LEAVES`)
	if s.public {
		script += strings.NewReplacer("ROUTER", router, "LINE", line, "LAN", s.lan.String()).Replace(`
		ip netns exec ROUTER nft add chain ip site in { type nat hook prerouting priority -100 ; }
		ip netns exec ROUTER nft add rule ip site in iifname line dnat ip prefix to ip daddr map { 203.0.113.0/24 : LAN }
		ip -n internet route add 203.0.113.0/24 via LINE2`)
	}
	return "", run(script)
}

// at is an address of the LAN.
func (s *site) at(host byte) netip.Addr {
	a := s.lan.Addr().As4()
	a[3] = host
	return netip.AddrFrom4(a)
}

// node performs "NAME POOL".
func (w *world) node(args []string) (string, error) {
	name, pool := args[0], args[1]
	s := w.sites[pool]
	if s == nil {
		return "", fmt.Errorf("no site %s", pool)
	}
	n := w.find(name)
	if n == nil {
		n = &node{name: name, object: newNode(name, len(w.nodes)+1)}
		if err := w.namespace(name); err != nil {
			return "", err
		}
		w.nodes = append(w.nodes, n)
		w.api.Nodes = append(w.api.Nodes, n.object)
	} else if err := run("ip -n " + name + " link del eth0"); err != nil {
		return "", err
	}
	s.plugs++
	addr := s.at(10 + s.plugs)
	err := run(strings.NewReplacer("ROUTER", "router-"+pool, "NODE", name, "ADDR", addr.String()+"/24", "VIA", s.at(1).String()).Replace(`
		ip -n ROUTER link add NODE master lan type veth peer name eth0 netns NODE
		ip -n ROUTER link set NODE up
		ip -n NODE addr add ADDR dev eth0
		ip -n NODE link set eth0 up
		ip -n NODE route add default via VIA`))
	if err != nil {
		return "", err
	}
	// As nodepool/join labels a node, and kubelet and the cloud say where it is.
	n.object.Labels = map[string]string{api.LabelPool: pool, api.LabelEdgeWorker: fmt.Sprint(!s.public)}
	n.object.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr.String()}}
	if s.public {
		eip := netip.AddrFrom4([4]byte{203, 0, 113, 10 + s.plugs})
		n.object.Status.Addresses = append(n.object.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: eip.String()})
	}
	if n.agent == nil {
		n.agent, err = startAgent(name, w.dir, w.drivers[name])
	}
	return "", err
}

// newNode is the Node that kubelet registers and kube-controller-manager
// gives its range.
func newNode(name string, number int) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(int64(1_700_000_000+number), 0)},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{fmt.Sprintf("10.42.%d.0/24", number)}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func (w *world) find(name string) *node {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.name == name })
	if i < 0 {
		return nil
	}
	return w.nodes[i]
}

// apply runs rounds of the manager and of all agents until nobody writes
// anything, and prints how many objects each node wrote.
func (w *world) apply([]string) (string, error) {
	steps, trouble := map[string]int{}, ""
	for range 10 {
		if err := w.manage(); err != nil {
			return "", fmt.Errorf("manager: %w", err)
		}
		quiet := true
		trouble = ""
		for _, n := range w.nodes {
			said, err := n.round(w.objects(n))
			if err != nil {
				return "", fmt.Errorf("agent of %s: %w", n.name, err)
			}
			known := w.publish(n, said)
			quiet = quiet && known && said.Steps == 0 && said.Trouble == ""
			steps[n.name] += said.Steps
			trouble += said.Trouble
		}
		if quiet {
			var b strings.Builder
			for _, n := range w.nodes {
				fmt.Fprintf(&b, "%s: %d steps\n", n.name, steps[n.name])
			}
			return b.String(), nil
		}
	}
	return "", fmt.Errorf("manager and agents do not come to rest: %s", trouble)
}

// manage is a round of each of the manager's loops, with the API server's part
// played by decoding.
func (w *world) manage() error {
	p, err := nodepool.Gateways(w.api)
	if err != nil {
		return err
	}
	made, err := decode[ravenv1beta1.Gateway](p.Manifests)
	if err != nil {
		return err
	}
	for _, g := range made {
		if i := w.gateway(g.Name); i >= 0 {
			g.Status = w.api.Gateways[i].Status
		}
	}
	w.api.Gateways = made
	if p, err = nodepool.Slices(w.api, api.VNI); err != nil {
		return err
	}
	if w.api.Slices, err = decode[v1alpha1.DomainSlice](p.Manifests); err != nil {
		return err
	}
	if p, err = nodepool.Status(w.api); err != nil {
		return err
	}
	for _, m := range p.Manifests {
		if i := w.gateway(m.Name); i >= 0 && m.Kind == "Gateway" {
			err = errors.Join(err, json.Unmarshal([]byte(m.JSON), w.api.Gateways[i]))
		}
	}
	return err
}

func (w *world) gateway(name string) int {
	return slices.IndexFunc(w.api.Gateways, func(g *ravenv1beta1.Gateway) bool { return g.Name == name })
}

func decode[T any](ms []plan.Manifest) ([]*T, error) {
	var out []*T
	for _, m := range ms {
		object := new(T)
		if err := json.Unmarshal([]byte(m.JSON), object); err != nil {
			return nil, fmt.Errorf("decode %s: %w", m, err)
		}
		out = append(out, object)
	}
	return out, nil
}

// objects is what an agent reads.
func (w *world) objects(n *node) fleet.Objects {
	out := fleet.Objects{Node: n.object}
	for _, s := range w.api.Slices {
		out.Slices = append(out.Slices, *s)
	}
	return out
}

// publish takes over what an agent says of itself, and reports whether that
// was known.
func (w *world) publish(n *node, said answer) (known bool) {
	known = maps.Equal(n.object.Annotations, said.Annotations)
	n.object.Annotations = said.Annotations
	i := slices.IndexFunc(w.api.Reports, func(r *v1alpha1.LinkReport) bool { return r.Name == n.name })
	if i < 0 {
		i = len(w.api.Reports)
		w.api.Reports = append(w.api.Reports, &v1alpha1.LinkReport{ObjectMeta: metav1.ObjectMeta{Name: n.name}})
	}
	known = known && w.api.Reports[i].Spec == said.Report
	w.api.Reports[i].Spec = said.Report
	return known
}

// expect performs "NODE TEXT".
func (w *world) expect(args []string) (string, error) {
	n, text := w.find(args[0]), strings.Join(args[1:], " ")
	if n == nil {
		return "", fmt.Errorf("no node %s", args[0])
	}
	has, err := n.agent.ask(order{})
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(has.Has) {
		if strings.Contains(line, text) {
			return line, nil
		}
	}
	return "", fmt.Errorf("%s has no %q, but\n%s", n.name, text, has.Has)
}

// run runs commands, one a line, words split at spaces.
func run(lines string) error {
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		cmd := exec.Command(words[0], words[1:]...) //nolint:noctx // bounded below
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.TrimSpace(line), err, out)
		}
	}
	return nil
}
