// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	poolsv1beta2 "github.com/magpie-edge/magpie/api/apps/v1beta2"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	ravenv1beta1 "github.com/magpie-edge/magpie/api/raven/v1beta1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/tunnel"
)

// Input is what the API says.
type Input struct {
	Nodes    []corev1.Node
	Gateways []ravenv1beta1.Gateway
	Pools    []poolsv1beta2.NodePool
	Reports  []v1alpha1.LinkReport
	// View is what the DomainSlices amount to, without a Self.
	View fleet.View
	// Left is what of the DomainSlices did not make it into View.
	Left []string
	// Linkless is true if links are switched off.
	Linkless bool
	Now      time.Time
}

// Build judges the input.
func Build(in Input) Report {
	b := &builder{in: in, ready: map[string]bool{}, why: map[string]string{}, since: map[string]*time.Time{}, reports: map[string]v1alpha1.LinkReport{}}
	b.r = Report{
		Problems: []Problem{}, Hints: []string{}, Domains: []Domain{}, Gateways: []Gateway{},
		Links: []Link{}, Pools: []Pool{}, Nodes: []Node{}, now: in.Now,
	}
	for _, n := range in.Nodes {
		b.ready[n.Name], b.why[n.Name], b.since[n.Name] = ready(n)
	}
	for _, r := range in.Reports {
		b.reports[r.Name] = r
	}
	b.nodes()
	b.domains()
	b.links()
	b.hide()
	b.pools()
	for _, text := range in.Left {
		b.problem(string(health.SliceInvalid), "domain slices", text, "correct what it names; magpie-manager rewrites the slice")
	}
	b.hints()
	b.r.OK = len(b.r.Problems) == 0
	return b.r
}

type builder struct {
	in      Input
	r       Report
	ready   map[string]bool
	why     map[string]string
	since   map[string]*time.Time // of being not Ready
	reports map[string]v1alpha1.LinkReport
}

func (b *builder) problem(code, subject, text, do string) {
	p := Problem{Code: code, Subject: subject, Text: text, Do: do}
	if !slices.ContainsFunc(b.r.Problems, func(q Problem) bool { return q.Code == code && q.Subject == subject }) {
		b.r.Problems = append(b.r.Problems, p)
	}
}

// ready also says why not, in the words of the kubelet or its absence, and
// since when.
func ready(n corev1.Node) (ok bool, why string, since *time.Time) {
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status != corev1.ConditionTrue && !c.LastTransitionTime.IsZero() {
			since = &c.LastTransitionTime.Time
		}
		return c.Status == corev1.ConditionTrue, cmp.Or(c.Message, "its kubelet gives no reason"), since
	}
	return false, "its kubelet has not reported yet", nil
}

func (b *builder) nodes() {
	for _, n := range b.in.Nodes {
		out := Node{Name: n.Name, Ready: b.ready[n.Name], NotReadySince: b.since[n.Name], Pool: cmp.Or(n.Labels[api.LabelPool], n.Labels[api.LabelPoolACK])}
		if !out.Ready {
			out.Reason = b.why[n.Name]
		}
		out.PodCIDRs, out.Addresses = append([]string{}, n.Spec.PodCIDRs...), []string{}
		known, domain, placed := b.in.View.Node(n.Name)
		if placed {
			out.Domain, out.VTEP = domain.Name, known.VTEPMAC != "" || known.VTEPMAC6 != ""
			out.Addresses = texts(known.Addr4, known.Addr6)
		}
		b.r.Nodes = append(b.r.Nodes, out)
		b.judge(out, placed)
	}
}

// texts prints those addresses that are there.
func texts(addrs ...netip.Addr) []string {
	out := []string{}
	for _, a := range addrs {
		if a.IsValid() {
			out = append(out, a.String())
		}
	}
	return out
}

// judge names the first thing that is wrong with a node: the later ones follow
// from it.
func (b *builder) judge(n Node, placed bool) {
	subject := "node " + n.Name
	switch {
	case len(n.PodCIDRs) == 0:
		b.problem("no-pod-cidr", subject, "has no pod CIDR, so its pods get no address",
			"run kube-controller-manager with --allocate-node-cidrs=true and a --cluster-cidr with room")
	case !placed:
		b.problem("no-domain", subject, "is in no network domain", "look at the log of magpie-manager")
	case !n.VTEP:
		b.problem("no-vtep-mac", subject, "has not published its overlay, so no other node reaches its pods",
			"is magpie-agent running there? kubectl get pods -A -l "+agentLabels+" --field-selector spec.nodeName="+n.Name)
	case !n.Ready:
		b.problem(string(health.NodeNotReady), subject, "is not Ready"+b.r.since(n.NotReadySince)+": "+n.Reason,
			"kubectl describe node "+n.Name+"; then the kubelet's log on it")
	}
}

// hide drops what a cut explains: whoever reads that a site is cut off need
// not read of each of its nodes that nobody hears it.
func (b *builder) hide() {
	explained := map[string]bool{}
	for _, n := range b.r.Nodes {
		_, cut := b.r.cut(n.Domain)
		explained["node "+n.Name] = cut
	}
	b.r.Problems = slices.DeleteFunc(b.r.Problems, func(p Problem) bool { return p.Code == string(health.NodeNotReady) && explained[p.Subject] })
}

const agentLabels = "app.kubernetes.io/component=agent"

func (b *builder) domains() {
	for _, d := range b.in.View.Domains {
		out := Domain{Name: d.Name, Cloud: d.Cloud, Private: d.Private, Nodes: len(d.Nodes), CIDRs: []string{}, NotReady: []NotReady{}}
		for _, n := range d.Nodes {
			if b.ready[n.Name] {
				out.Ready++
				continue
			}
			out.NotReady = append(out.NotReady, NotReady{Node: n.Name, Since: b.since[n.Name]})
		}
		for _, c := range d.CIDRs() {
			out.CIDRs = append(out.CIDRs, c.String())
		}
		for _, g := range d.Gateways {
			if g.Active && out.Gateway == "" {
				out.Gateway = g.Node
			}
			b.gateway(d, g)
		}
		b.r.Domains = append(b.r.Domains, out)
	}
}

func (b *builder) gateway(d fleet.Domain, g fleet.Gateway) {
	report, reported := b.reports[g.Node]
	out := Gateway{
		Node: g.Node, Domain: d.Name, Active: g.Active, Ready: b.ready[g.Node], Key: g.PublicKey != "",
		Endpoints: []string{}, Driver: report.Spec.Driver, MTU: g.MTU,
	}
	for _, e := range g.Endpoints {
		out.Endpoints = append(out.Endpoints, e.String())
	}
	b.r.Gateways = append(b.r.Gateways, out)
	subject := "node " + g.Node
	switch {
	case g.PublicKey == "" && !reported:
		b.problem("peer-without-key", subject, "is a gateway of "+d.Name+" but its agent has published no key",
			"is magpie-agent running there? kubectl get linkreports "+g.Node)
	case reported && report.Spec.PublicKey != g.PublicKey:
		b.problem("key-not-current", subject, "has a key that its peers do not know yet",
			"wait some seconds; if it stays, look at the log of magpie-manager")
	}
}

// links asks tunnel.Choose for every domain and joins what it answers into the
// tunnels between gateways.
func (b *builder) links() {
	v := b.in.View
	v.Settings.Links = true
	byEnds := map[[2]string]int{}
	for _, d := range v.Domains {
		v.Self = fleet.Self{Domain: d.Name}
		links, notes := tunnel.Choose(v)
		for _, n := range notes {
			b.note(d, n)
		}
		for _, l := range links {
			ends := [2]string{min(l.Gateway, l.Peer), max(l.Gateway, l.Peer)}
			i, ok := byEnds[ends]
			if !ok {
				i = len(b.r.Links)
				byEnds[ends] = i
				b.r.Links = append(b.r.Links, b.link(d, l))
			}
			if b.r.Links[i].Domain == d.Name {
				b.r.Links[i].Carries = append(b.r.Links[i].Carries, l.Domain)
				b.r.Links[i].MTU = max(b.r.Links[i].MTU, l.MTU)
			}
		}
	}
	for _, l := range b.r.Links {
		b.alive(l)
	}
}

// link makes one tunnel; the end that dials stands first.
func (b *builder) link(d fleet.Domain, l fleet.Link) Link {
	_, peers, _ := b.in.View.Node(l.Peer)
	out := Link{
		Gateway: l.Gateway, Domain: d.Name, Peer: l.Peer, PeerDomain: peers.Name,
		Path: l.Path, MTU: l.MTU, State: Unknown, Carries: []string{},
	}
	if d.Cloud {
		out.Gateway, out.Domain, out.Peer, out.PeerDomain = l.Peer, peers.Name, l.Gateway, d.Name
	}
	near, nearOK := b.end(out.Gateway, out.Peer)
	far, farOK := b.end(out.Peer, out.Gateway)
	// What an end that is cut off wrote last stays in the API: one end that
	// does not hear the other outweighs the other's word.
	switch {
	case nearOK && !near.Live || farOK && !far.Live:
		out.State, out.LastHeard = Down, later(near.LastHeard, far.LastHeard)
		near.RTTMicros, far.RTTMicros = 0, 0
	case nearOK || farOK:
		out.State = Live
	}
	out.RTTMicros = cmp.Or(near.RTTMicros, far.RTTMicros)
	out.Endpoint = far.Endpoint
	return out
}

func later(a, b *metav1.Time) *time.Time {
	if a == nil || b != nil && a.Before(b) {
		a = b
	}
	if a == nil {
		return nil
	}
	return &a.Time
}

// end is what a gateway reports of a peer.
func (b *builder) end(node, peer string) (v1alpha1.LinkState, bool) {
	states := b.reports[node].Status.Links
	i := slices.IndexFunc(states, func(s v1alpha1.LinkState) bool { return s.Node == peer })
	if i < 0 {
		return v1alpha1.LinkState{}, false
	}
	return states[i], true
}

func (b *builder) alive(l Link) {
	subject := "link " + l.Gateway + " to " + l.Peer
	at := "the gateway " + l.Peer
	for _, g := range b.r.Gateways {
		if g.Node == l.Peer && len(g.Endpoints) > 0 {
			at = g.Endpoints[0]
		}
	}
	switch l.State {
	case Down:
		text := l.Domain + " is cut off: " + b.r.unheard(l)
		code := health.LinkDown
		if l.LastHeard == nil {
			code = health.LinkBlocked
		}
		b.problem(string(code), subject, text+b.gone(l.Domain),
			fmt.Sprintf("from %s, does UDP to %s get through? Firewalls and security groups must let it", l.Gateway, at))
	case Unknown:
		b.problem(string(health.LinkUnreported), subject, "neither of its gateways reports it",
			"is magpie-agent running on them? kubectl get linkreports")
	}
}

// gone names the nodes of a domain that are not Ready.
func (b *builder) gone(domain string) string {
	i := slices.IndexFunc(b.r.Domains, func(d Domain) bool { return d.Name == domain })
	if i < 0 || len(b.r.Domains[i].NotReady) == 0 {
		return ""
	}
	return "; not Ready: " + b.r.ages(b.r.Domains[i].NotReady)
}

// note takes over what tunnel.Choose refuses for the domain home. Every domain
// says so from its own side: what is one fault becomes one problem. With links
// off everything is refused, on purpose.
func (b *builder) note(home fleet.Domain, n plan.Note) {
	if b.in.Linkless {
		return
	}
	subject, text := n.Subject, n.Text
	switch {
	case n.Code == tunnel.NoteNoCloud, n.Code == tunnel.NoteNoHomeGateway && home.Cloud:
		subject, n.Code = "the cloud domain", tunnel.NoteNoCloud
	case n.Code == tunnel.NoteNoHomeGateway, n.Code == tunnel.NoteNoGateway:
		if n.Code == tunnel.NoteNoHomeGateway {
			subject = "domain " + home.Name
		}
		n.Code, text = tunnel.NoteNoGateway, "no gateway of it is active and has a published key: it is cut off"
	}
	b.problem(n.Code, subject, text, "see docs/runbooks/"+n.Code+".md, and kubectl get gateways,linkreports")
}

func (b *builder) pools() {
	for _, p := range b.in.Pools {
		out := Pool{Name: p.Name, Type: p.Spec.Type}
		for _, n := range b.r.Nodes {
			if n.Pool == p.Name {
				out.Nodes++
			}
			if n.Pool == p.Name && n.Ready {
				out.Ready++
			}
		}
		b.r.Pools = append(b.r.Pools, out)
	}
	slices.SortFunc(b.r.Pools, func(x, y Pool) int { return cmp.Compare(x.Name, y.Name) })
}

func (b *builder) hints() {
	if b.in.Linkless {
		b.r.Hints = append(b.r.Hints, "links are switched off: ConfigMap "+api.RavenConfigNamespace+"/"+api.RavenConfigName+
			" has "+api.RavenEnableL3+": \"false\"")
	}
	for _, g := range b.in.Gateways {
		if _, ok := b.in.View.Domain(g.Name); !ok {
			b.r.Hints = append(b.r.Hints, "gateway "+g.Name+" has no nodes: label them "+api.LabelGateway+"="+g.Name)
		}
	}
	if len(b.r.Domains) == 1 {
		b.r.Hints = append(b.r.Hints, "there is one domain, so there are no links; magpiectl join adds nodes of another")
	}
}
