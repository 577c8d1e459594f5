// SPDX-License-Identifier: Apache-2.0

package sessions

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Input is what is known before instances are put together.
type Input struct {
	Now time.Time
	// Off is why there is no tunnel; "" if there shall be one.
	Off     string
	Nodes   []Member
	Answers []Answer
}

// Member is one node of the cluster.
type Member struct {
	Name, Domain string
	Ready        bool
	Dials        bool // it is to have sessions
}

// Answer is what one instance said.
type Answer struct {
	Pod, Host string
	Ready     bool
	Err       error // of asking it
	Status    Status
	// Metrics is its /metrics in the text format.
	Metrics string
}

// Status is what magpie-gateway serves at /sessions.
type Status struct {
	Instance  string           `json:"instance"`
	Version   string           `json:"version"`
	Instances []string         `json:"instances"`
	Draining  bool             `json:"draining"`
	Sessions  []stream.Session `json:"sessions"`
	Peers     []stream.Session `json:"peers"`
}

// soon is how long before its end a certificate should have been renewed; its
// owner tries from two thirds of its life on (identity.RenewAfter).
const soon = identity.Lifetime / 6

// Build puts the answers together and judges them.
func Build(in Input) Report {
	b := builder{in: in, r: Report{
		Problems: []Problem{}, Notes: []Problem{}, Off: in.Off, Instances: []Instance{}, Nodes: []Node{}, now: in.Now,
	}, rows: map[string]int{}}
	for _, m := range in.Nodes {
		b.rows[m.Name] = len(b.r.Nodes)
		b.r.Nodes = append(b.r.Nodes, Node{Name: m.Name, Domain: m.Domain, Ready: m.Ready, Dials: m.Dials, Sessions: []Session{}})
	}
	for _, a := range in.Answers {
		b.instance(a)
	}
	slices.SortFunc(b.r.Instances, func(x, y Instance) int { return cmp.Compare(x.Pod, y.Pod) })
	slices.SortFunc(b.r.Nodes, func(x, y Node) int { return cmp.Or(cmp.Compare(x.Domain, y.Domain), cmp.Compare(x.Name, y.Name)) })
	if in.Off == "" {
		b.judgeInstances()
		b.judgeNodes()
	}
	b.r.OK = len(b.r.Problems) == 0
	return b.r
}

type builder struct {
	in   Input
	r    Report
	rows map[string]int // of nodes, before they are sorted
}

func (b *builder) problem(code health.Code, subject, text, do string) {
	b.r.Problems = append(b.r.Problems, Problem{Code: string(code), Subject: subject, Text: text, Do: do})
}

func (b *builder) instance(a Answer) {
	out := Instance{
		Pod: a.Pod, Host: a.Host, Ready: a.Ready, Version: a.Status.Version, Draining: a.Status.Draining,
		Sessions: len(a.Status.Sessions), Peers: []string{}, Refused: map[string]int64{},
	}
	if a.Err != nil {
		out.Error = a.Err.Error()
	}
	for _, p := range a.Status.Peers {
		out.Peers = append(out.Peers, p.Node)
	}
	readMetrics(a.Metrics, &out)
	for _, s := range a.Status.Sessions {
		out.Streams += s.Streams
		b.session(a.Pod, s)
	}
	b.r.Instances = append(b.r.Instances, out)
}

func (b *builder) session(pod string, s stream.Session) {
	i, ok := b.rows[s.Node]
	if !ok { // the Node is gone, and its sessions will be in a moment
		return
	}
	n := &b.r.Nodes[i]
	n.Agent = cmp.Or(n.Agent, s.Answer.Version)
	n.Sessions = append(n.Sessions, Session{
		Pod: pod, Since: s.Since, Remote: s.Remote, Via: s.Answer.Via, Connections: s.Conns, Streams: s.Streams, Bytes: s.Bytes,
		RTTMicros: s.RTT.Microseconds(), CertificateUntil: s.Expires,
	})
}

// asked counts the instances that answered.
func (r Report) asked() int {
	return len(slices.DeleteFunc(slices.Clone(r.Instances), func(i Instance) bool { return i.Error != "" }))
}

func (b *builder) judgeInstances() {
	if len(b.r.Instances) == 0 {
		b.problem(health.TunnelGatewayDown, "gateway", "no magpie-gateway runs, and agents are told to dial one",
			"kubectl get deployments,pods -A -l "+Labels)
		return
	}
	dial := slices.ContainsFunc(b.r.Nodes, func(n Node) bool { return n.Dials && n.Ready })
	total := 0
	for _, i := range b.r.Instances {
		total += i.Sessions
	}
	for _, i := range b.r.Instances {
		subject := "gateway " + i.Pod
		switch {
		case !i.Ready:
			b.problem(health.TunnelGatewayDown, subject, "it is not ready", logsOf(i.Pod))
		case i.Error != "":
			b.problem(health.TunnelGatewayDown, subject, "it cannot be asked: "+i.Error,
				"can the API server reach pods on "+i.Host+"? It must, to ask them; the tunnel itself does not need that")
		case i.Sessions == 0 && dial && !i.Draining && total > 0:
			b.problem(health.TunnelGatewayIdle, subject, "it has no session, while other instances have",
				"can agents reach it? Each instance needs an address of its own or a load balancer in front; "+logsOf(i.Pod))
		}
		if i.CertificateUntil != nil && i.CertificateUntil.Sub(b.in.Now) < soon {
			b.problem(health.TunnelCertificate, subject, "its certificate "+ends(*i.CertificateUntil, b.in.Now),
				"kubectl get csr: are its requests approved? magpie-manager does that")
		}
		if text := refusals(i.Refused); text != "" {
			b.r.Notes = append(b.r.Notes, Problem{
				Code: string(health.TunnelRefusals), Subject: subject, Text: "refused since it started: " + text,
				Do: logsOf(i.Pod) + " | grep 'stream refused'",
			})
		}
	}
}

// Labels select the pods of magpie-gateway.
const Labels = "app.kubernetes.io/name=magpie,app.kubernetes.io/component=gateway"

func logsOf(pod string) string {
	namespace, name, _ := strings.Cut(pod, "/")
	return "kubectl -n " + namespace + " logs " + name
}

// suspicious are refusals that a well-behaved cluster does not cause.
// What a missing session or a busy node refuses shows at the node.
var suspicious = []stream.Code{
	stream.CodeUnauthenticated, stream.CodeForbidden, stream.CodeNotAllowed, stream.CodeWrongNode, stream.CodeBadRequest,
	stream.CodeTooManyStreams, stream.CodeTooManyDials,
}

func refusals(by map[string]int64) string {
	var parts []string
	for _, code := range suspicious {
		if n := by[string(code)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", code, n))
		}
	}
	return strings.Join(parts, ", ")
}

func (b *builder) judgeNodes() {
	if b.r.asked() == 0 {
		return
	}
	for _, n := range b.r.Nodes {
		subject := "node " + n.Name
		if n.Dials && len(n.Sessions) == 0 {
			b.unconnected(n.Name, n.Ready)
			continue
		}
		if i := slices.IndexFunc(n.Sessions, func(s Session) bool { return s.Via != "" }); i >= 0 {
			b.r.Notes = append(b.r.Notes, Problem{
				Code: string(health.TunnelRelayed), Subject: subject,
				Text: "its sessions go through a neighbour at " + n.Sessions[i].Via + ": it does not reach the gateways itself",
				Do:   "let it out to the gateways' addresses, TCP 443, unless that is how the site is meant to be",
			})
		}
		var until time.Time
		for _, s := range n.Sessions {
			if s.CertificateUntil.After(until) {
				until = s.CertificateUntil
			}
		}
		if !until.IsZero() && until.Sub(b.in.Now) < soon {
			b.problem(health.TunnelCertificate, subject, "its certificate "+ends(until, b.in.Now),
				"kubectl get csr: are its requests approved? magpie-manager does that")
		}
	}
}

// unconnected is a problem whether or not the node is Ready: one that is off or
// cut off is reached by nobody.
func (b *builder) unconnected(node string, ready bool) {
	text, do := "it has no session with any instance of the gateway",
		"kubectl get linkreports "+node+" -o yaml: condition tunnel-down says how far its last dial came"
	if !ready {
		text += ", and it is not Ready: it is off, or its site is cut off"
		do = "magpiectl doctor: what keeps it from being Ready?"
	}
	b.problem(health.TunnelDown, "node "+node, text, do)
}

// ends is "ends in 3h" or "ended 5m ago".
func ends(at, now time.Time) string {
	if d := at.Sub(now); d > 0 {
		return "ends in " + status.Age(d)
	}
	return "ended " + status.Age(now.Sub(at)) + " ago"
}
