// SPDX-License-Identifier: Apache-2.0

package health

import "time"

// Code is the name of a condition: a metric label and the name of its runbook.
type Code string

// Codes of all conditions.
const (
	// NotSynced: a source of the View has never spoken since the process
	// began, and nothing was saved on disk. No subject.
	NotSynced Code = "not-synced"
	// APIUnreachable: the API server does not answer, and we go on from what
	// we knew last: since before the process began, or since it was lost. No
	// subject.
	APIUnreachable Code = "api-unreachable"
	// LoopFailing: rounds of a loop end in errors. Subject: "loop NAME".
	LoopFailing Code = "loop-failing"
	// ForeignWriter: somebody else keeps changing objects that we own, and we
	// keep putting them back. Subject: "loop NAME".
	ForeignWriter Code = "foreign-writer"
	// ClockOff: the node's clock is more than a minute from the API server's.
	// No subject.
	ClockOff Code = "clock-off"
	// TunnelCertificate: the node has no certificate of the O&M tunnel, or one
	// that should long have been renewed. No subject.
	TunnelCertificate Code = "tunnel-certificate"
	// TunnelDown: the node has no session with any magpie-gateway. No subject.
	TunnelDown Code = "tunnel-down"
	// HubDown: the hub does not answer its callers. No subject.
	HubDown Code = "hub-down"
	// HubStale: the hub answers with what it knew last, because the API server
	// does not tell it more. No subject.
	HubStale Code = "hub-stale"
)

// Severity says who has to act.
type Severity byte

// The severities, in rising order.
const (
	Info    Severity = iota // nobody: worth knowing
	Warning                 // somebody, in time: we are compensating
	Error                   // somebody, now: pods are cut off or cannot start
)

func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// Condition is one kind of trouble.
type Condition struct {
	Code     Code
	Title    string // one line, as magpiectl prints it
	Why      string // why that matters to whoever runs pods, one sentence
	Severity Severity
	// DependsOn hides this condition while one of these is shown.
	DependsOn []Code
	// After is how long it must hold before it is shown.
	After time.Duration
}

// Runbook returns where the condition's page is, from the root of the
// repository.
func (c Condition) Runbook() string { return "docs/runbooks/" + string(c.Code) + ".md" }

// Conditions returns those that an agent sees on its node, causes before
// effects.
func Conditions() []Condition {
	return []Condition{
		{
			Code: APIUnreachable, Title: "the API server does not answer; running on the last known fleet",
			Why:      "Pods go on, but the node does not hear of new nodes, moved gateways or new pods.",
			Severity: Warning, After: 30 * time.Second,
		},
		{
			Code: NotSynced, Title: "the fleet is not known yet and none is saved; nothing is set up",
			Why:      "No pod of the node has a network.",
			Severity: Error, DependsOn: []Code{APIUnreachable}, After: time.Minute,
		},
		{
			Code: LoopFailing, Title: "a loop cannot bring the node to its plan",
			Why:      "Part of the node's network is not as it should be, or is not repaired when it breaks.",
			Severity: Error, DependsOn: []Code{NotSynced}, After: 15 * time.Second,
		},
		{
			Code: ForeignWriter, Title: "another program keeps changing objects of ours",
			Why:      "Packets are lost between each change and its repair, and one day the other program wins.",
			Severity: Warning, After: 10 * time.Second,
		},
		{
			Code: ClockOff, Title: "the node's clock is wrong",
			Why:      "Certificates look expired or not yet valid, logs lie about when, and TLS of pods fails; the O&M tunnel makes up for it while the API server answers.",
			Severity: Warning, After: time.Minute,
		},
		{
			Code: TunnelCertificate, Title: "the node's certificate of the O&M tunnel is missing or about to end",
			Why:      "Without one no gateway lets the node in: kubectl logs and exec do not reach it.",
			Severity: Warning, DependsOn: []Code{APIUnreachable}, After: time.Minute,
		},
		{
			Code: TunnelDown, Title: "the node has no session with a gateway of the O&M tunnel",
			Why:      "kubectl logs, exec and the like do not reach the node; its pods are not affected.",
			Severity: Warning, DependsOn: []Code{APIUnreachable, TunnelCertificate}, After: 30 * time.Second,
		},
		{
			Code: HubDown, Title: "the node's hub does not answer kube-proxy and CoreDNS",
			Why:      "They go on with what they know; restarted, they start empty, and Services of the node lead nowhere.",
			Severity: Error, DependsOn: []Code{NotSynced}, After: 30 * time.Second,
		},
		{
			Code: HubStale, Title: "the node's hub answers with what it knew last",
			Why:      "kube-proxy and CoreDNS of the node do not hear of endpoints that come and go.",
			Severity: Warning, DependsOn: []Code{APIUnreachable, HubDown}, After: time.Minute,
		},
	}
}
