// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"

	"github.com/magpie-edge/magpie/internal/health"
)

// note is what the doctor adds to a planner's note: planners say what they left
// out, not how bad that is.
type note struct {
	Severity  health.Severity
	Why       string
	DependsOn []health.Code
}

const (
	whyCutOff  = "Pods there reach no other domain, nor the other way round."
	whyNoPods  = "Its pods get no network, or other nodes do not reach them."
	whyLeftOut = "What was asked for is not in effect."
)

// notes are those that are worse than a warning, harmless, or have a cause.
var notes = map[string]note{
	"no-pod-cidr":      {Severity: health.Error, Why: whyNoPods},
	"no-domain":        {Severity: health.Error, Why: whyNoPods, DependsOn: []health.Code{health.ManagerDown}},
	"no-underlay":      {Severity: health.Error, Why: whyNoPods},
	"no-address":       {Severity: health.Error, Why: whyNoPods},
	"no-vtep-mac":      {Severity: health.Error, Why: whyNoPods, DependsOn: []health.Code{health.AgentMissing, health.NodeNotReady}},
	"vni-mismatch":     {Severity: health.Error, Why: whyNoPods},
	"bad-cidr":         {Severity: health.Error, Why: whyNoPods},
	"cidr-overlap":     {Severity: health.Error, Why: "One address would be two pods: the range is left out for one of them, whose pods nobody reaches."},
	"no-cloud-gateway": {Severity: health.Error, Why: "No site reaches the cloud or another site.", DependsOn: []health.Code{health.AgentMissing}},
	"no-gateway":       {Severity: health.Error, Why: whyCutOff, DependsOn: []health.Code{health.AgentMissing, health.NodeNotReady, health.ManagerDown}},
	"no-home-gateway":  {Severity: health.Error, Why: whyCutOff, DependsOn: []health.Code{health.AgentMissing, health.NodeNotReady, health.ManagerDown}},
	"gateway-mute":     {Severity: health.Error, Why: whyCutOff, DependsOn: []health.Code{health.AgentMissing, health.NodeNotReady}},
	"peer-without-key": {Severity: health.Warning, Why: "No other gateway can talk to it.", DependsOn: []health.Code{health.AgentMissing, health.NodeNotReady}},
	"key-not-current":  {Severity: health.Warning, Why: "Its peers use a key that it no longer has.", DependsOn: []health.Code{health.ManagerDown}},
	"links-off":        {Severity: health.Info, Why: "Domains do not reach each other, on purpose."},
	"tunnel-off":       {Severity: health.Info, Why: "kubectl logs and exec do not reach sites, on purpose."},
	"proxy-off":        {Severity: health.Info, Why: "kubectl logs and exec do not reach sites, on purpose."},
	"mtu-clamped":      {Severity: health.Info, Why: "Pods get a smaller MTU than was asked for; larger packets would be lost."},
	"fast-path-off":    {Severity: health.Info, Why: "Pods reach each other as before, for more CPU time: the kernel has no fast path."},
	"unknown-topology": {Severity: health.Warning, Why: "Its traffic goes to every site, although somebody wanted it to stay."},
	// A hub is in the agent.
	"hub-down": {DependsOn: []health.Code{health.AgentSilent}},
	// An agent does not know that its node is not Ready.
	"tunnel-down":     {DependsOn: []health.Code{health.NodeNotReady}},
	"gateway-missing": {Severity: health.Warning, Why: whyCutOff},
}

// noted makes a finding of a planner's note.
func noted(code, subject, text, do string, about ...string) Finding {
	if slices.ContainsFunc(known, func(c health.Condition) bool { return string(c.Code) == code }) {
		return find(health.Code(code), subject, text, do, about...)
	}
	n, ok := notes[code]
	if !ok {
		n = note{Severity: health.Warning, Why: whyLeftOut}
	}
	f := Finding{
		Code: code, Severity: n.Severity.String(), Subject: subject, Text: text, Why: n.Why, Do: do,
		Runbook: health.Condition{Code: health.Code(code)}.Runbook(), about: about,
	}
	if f.Do == "" {
		f.Do = "follow the runbook"
	}
	return f
}
